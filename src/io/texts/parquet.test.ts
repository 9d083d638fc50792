import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { brotliCompressSync, gzipSync } from "node:zlib";
import { parquetWriteBuffer } from "hyparquet-writer";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { PositionalFile } from "../files/file.ts";
import { readParquetRows, readParquetTexts } from "./parquet.ts";

type Options = Parameters<typeof parquetWriteBuffer>[0];
type Column = Options["columnData"][number];

const texts = (name: string, data: readonly (string | null)[]): Column => ({
  name,
  data: [...data],
  type: "STRING",
  nullable: true,
});

/** A column of three nulls, compressed by LZ4, as pyarrow 26 writes it: its dictionary is empty. */
const NULLS = Buffer.from(
  "UEFSMRUEFQAVAkwVABUAEgAAABUAFQ4VECwVBhUQFQYVBhwAAABwAgAAAAYAABUEGSw1ABgGc2NoZW1hFQIAFQwlAhgEbnVsbCUATBwAAAAWBhkc" +
    "GRwmABwVDBk1AAYQGRgEbnVsbBUOFgYWUBZUJiYmCCksFQQVABUCABUAFRAVAgA8FgAZBhkmBgAAAAAWUBYGJggWVAAoIHBhcnF1ZXQtY3BwLWFy" +
    "cm93IHZlcnNpb24gMjYuMC4xGRwcAAAAkgAAAFBBUjE=",
  "base64",
);

const DAYS: Options = {
  columnData: [{ name: "day", data: [19_930, -1, 2 ** 31 - 1] }],
  schema: [
    { name: "root", num_children: 1 },
    { name: "day", type: "INT32", converted_type: "DATE", repetition_type: "REQUIRED" },
  ],
};

async function read(
  bytes: Uint8Array | ArrayBuffer,
  { maxBytes = 1e6, column }: { readonly maxBytes?: number; readonly column?: string } = {},
): Promise<Awaited<ReturnType<typeof readParquetTexts>>> {
  const path = join(await temporaryDirectory(), "a.parquet");
  await writeFile(path, new Uint8Array(bytes));
  return PositionalFile.use(path, (file) => readParquetTexts(file, { maxBytes, column }));
}

describe("readParquetTexts", () => {
  const ids: Column = { name: "id", data: [1, 2, 3], type: "INT32" };
  const title = texts("title", ["A", "B", "C"]);
  const body = texts("text", ["one", null, "drei ü 🙂"]);

  test("finds the column: the one asked for, else text, content, or the first one of texts", async () => {
    const columns = [ids, title, body];
    expect(await read(parquetWriteBuffer({ columnData: columns }))).toEqual(["one", "drei ü 🙂"]);
    expect(await read(parquetWriteBuffer({ columnData: columns }), { column: "title" })).toEqual([
      "A",
      "B",
      "C",
    ]);
    expect(await read(parquetWriteBuffer({ columnData: [ids, title] }))).toEqual(["A", "B", "C"]);
    const content = { ...body, name: "content" };
    expect(await read(parquetWriteBuffer({ columnData: [title, content] }))).toHaveLength(2);
  });

  test("says which columns there are when there is no such one", async () => {
    await expect(
      read(parquetWriteBuffer({ columnData: [ids, title] }), { column: "id" }),
    ).rejects.toMatchObject({
      code: "BAD_TEXT",
      message: expect.stringMatching(/a\.parquet: expected a text column id, got none$/),
      hint: "Its text columns are title.",
    });
    await expect(read(parquetWriteBuffer({ columnData: [ids] }))).rejects.toMatchObject({
      hint: "It has no text column.",
    });
  });

  test.each([
    ["GZIP", (page: Uint8Array) => new Uint8Array(gzipSync(page))],
    ["BROTLI", (page: Uint8Array) => new Uint8Array(brotliCompressSync(page))],
    ["SNAPPY", undefined],
    ["UNCOMPRESSED", undefined],
  ] as const)("unpacks %s", async (codec, pack) => {
    const long = texts(
      "text",
      [..."abcdefgh"].map((letter) => letter.repeat(5000)),
    );
    const compressors = pack && { [codec]: pack };
    const bytes = parquetWriteBuffer({ columnData: [long], codec, ...(compressors && { compressors }) });
    expect(await read(bytes)).toEqual(long.data);
  });

  test("unpacks pages without content", async () => {
    const path = join(await temporaryDirectory(), "a.parquet");
    await writeFile(path, NULLS);
    const rows = await PositionalFile.use(path, (file) => readParquetRows(file, 3));
    expect(rows).toEqual([{ null: null }, { null: null }, { null: null }]);
  });

  test("takes evenly spaced rows of evenly spaced groups when there is too much", async () => {
    const rows = Array.from({ length: 10_000 }, (_, i) => `${String(i).padStart(5, "0")} ${"x".repeat(94)}`);
    const bytes = parquetWriteBuffer({ columnData: [texts("text", rows)], rowGroupSize: 100 });
    const read32 = await read(bytes, { maxBytes: 64_000 });
    const numbers = read32.map((text) => Number(text.slice(0, 5)));
    expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
    expect(read32.join("").length).toBeLessThanOrEqual(64_000);
    expect(read32.join("").length).toBeGreaterThan(32_000);
    expect(new Set(numbers.map((row) => Math.floor(row / 100))).size).toBe(32);
    expect(numbers.at(-1)).toBeGreaterThan(9500);
  });

  test("gives no more than asked for, the beginning of a text where none fits, and counts empty ones", async () => {
    const letters = [..."abcdefgh"].map((letter) => `${letter} `.repeat(500));
    const bytes = parquetWriteBuffer({ columnData: [texts("text", letters)], rowGroupSize: 1 });
    expect(await read(bytes, { maxBytes: 2100 })).toEqual([letters[0], letters[4]]);
    expect(await read(bytes, { maxBytes: 9 })).toEqual(["a a a a"]);
    const faces = parquetWriteBuffer({ columnData: [texts("text", ["🙂".repeat(10)])] });
    expect(await read(faces, { maxBytes: 5 })).toEqual(["🙂🙂"]);
    const empty = parquetWriteBuffer({ columnData: [texts("text", Array(1000).fill(""))] });
    expect(await read(empty, { maxBytes: 100 })).toHaveLength(100);
  });

  test("of many equal texts, which take no space in the file, takes as many as fit", async () => {
    const bytes = parquetWriteBuffer({ columnData: [texts("text", Array(5000).fill("y".repeat(1000)))] });
    expect(bytes.byteLength).toBeLessThan(20_000);
    expect((await read(bytes, { maxBytes: 100_000 })).length).toBeLessThanOrEqual(100);
  });

  test("gives dates and times as JSON does, and large integers as numbers", async () => {
    const columnData: Column[] = [
      { name: "when", data: [new Date("2024-07-26T12:00:00Z"), null], type: "TIMESTAMP", nullable: true },
      { name: "count", data: [1n, 2n], type: "INT64" },
    ];
    const path = join(await temporaryDirectory(), "a.parquet");
    await writeFile(path, new Uint8Array(parquetWriteBuffer({ columnData })));
    expect(await PositionalFile.use(path, (file) => readParquetRows(file, 2))).toEqual([
      { when: "2024-07-26T12:00:00.000Z", count: 1 },
      { when: null, count: 2 },
    ]);
    await writeFile(path, new Uint8Array(parquetWriteBuffer(DAYS)));
    expect(await PositionalFile.use(path, (file) => readParquetRows(file, 3))).toEqual([
      { day: "2024-07-26" },
      { day: "1969-12-31" },
      { day: null },
    ]);
  });

  test("takes any number of texts and rows from one row group", async () => {
    const lines = Array.from({ length: 200_000 }, (_, i) => `${i}`);
    const bytes = parquetWriteBuffer({ columnData: [texts("text", lines)], rowGroupSize: lines.length });
    expect(await read(bytes, { maxBytes: 1e7 })).toEqual(lines);
    const path = join(await temporaryDirectory(), "a.parquet");
    await writeFile(path, new Uint8Array(bytes));
    expect(await PositionalFile.use(path, (file) => readParquetRows(file, 150_000))).toHaveLength(150_000);
  });

  test("refuses what is no Parquet file, and every truncation and damage without another error", async () => {
    await expect(read(Buffer.from("some text that is long enough"))).rejects.toThrow(
      "expected a Parquet file, got something else",
    );
    await expect(read(new Uint8Array(3))).rejects.toMatchObject({ code: "BAD_FILE" });
    const bytes = new Uint8Array(parquetWriteBuffer({ columnData: [ids, body] }));
    const huge = Uint8Array.from(bytes);
    new DataView(huge.buffer).setUint32(huge.length - 8, 0x7fffffff, true);
    await expect(read(huge)).rejects.toThrow(`expected a footer of at most ${bytes.length - 12} bytes, got`);
    for (let at = 4; at < bytes.length; at += 7) {
      const damaged = Uint8Array.from(bytes);
      damaged[at]! ^= 0xff;
      const result = await read(damaged).catch((error: unknown) => error);
      if (!Array.isArray(result)) expect(result).toMatchObject({ name: "GpruneError" });
    }
  });
});
