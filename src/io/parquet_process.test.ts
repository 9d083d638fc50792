import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parquetWriteBuffer } from "hyparquet-writer";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../test/file_faults.ts";
import { parquetTexts } from "./parquet_process.ts";

async function fileOf(bytes: Uint8Array): Promise<string> {
  const path = join(await temporaryDirectory(), "a.parquet");
  await writeFile(path, bytes);
  return path;
}

const CONTENT = ["one \u0000 \u2028", "zwei ü 🙂", "\ud800"];
const good = (): Uint8Array =>
  new Uint8Array(parquetWriteBuffer({ columnData: [{ name: "text", data: CONTENT, type: "STRING" }] }));

/** A footer of lists inside lists, each of 32 million items by its own account: 600 bytes that ask for 25 GB. */
function listBomb(): Uint8Array {
  const list = [0xf9, 0xff, 0xff, 0xff, 0x0f];
  const footer = Uint8Array.from([0x19, ...Array.from({ length: 100 }, () => list).flat()]);
  const length = new Uint8Array(Uint32Array.of(footer.length).buffer);
  return Buffer.concat([Buffer.from("PAR1"), footer, length, Buffer.from("PAR1")]);
}

/** The levels of a page say of one value that it is there a billion times. */
function runBomb(): Uint8Array {
  const data = Array.from({ length: 100 }, (_, i) => (i === 0 ? null : `${i}`));
  const column = { name: "text", data, type: "STRING", nullable: true } as const;
  const bytes = Buffer.from(parquetWriteBuffer({ columnData: [column], codec: "UNCOMPRESSED" }));
  // Eight levels as bits, then a run: twice 92 as a varint, and the level 1.
  const at = bytes.indexOf(Uint8Array.of(3, 0xfe, 0xb8, 0x01, 1));
  if (at < 0) throw new Error("expected the levels of a page, got another layout");
  bytes.set([0xfe, 0xff, 0xff, 0xff, 0x07, 1], at + 2);
  return bytes;
}

describe("parquetTexts", () => {
  test("gives the texts of a file", async () => {
    const path = await fileOf(good());
    expect(await parquetTexts({ path, maxBytes: 1e6, column: undefined })).toEqual([
      CONTENT[0],
      CONTENT[1],
      "\ufffd",
    ]);
  });

  test("gives the reader's own errors", async () => {
    const path = await fileOf(good().subarray(1));
    await expect(parquetTexts({ path, maxBytes: 1e6, column: "body" })).rejects.toMatchObject({
      code: "BAD_TEXT",
      message: `${path}: expected texts in column body, got none`,
      hint: "It has texts in text.",
    });
    await expect(
      parquetTexts({ path: `${path}.missing`, maxBytes: 1e6, column: undefined }),
    ).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  test.each([
    ["lists that claim to be long", listBomb],
    ["a value repeated a billion times", runBomb],
  ])("survives %s", async (_, bomb) => {
    const path = await fileOf(bomb());
    const limits = { seconds: 50, heapMegabytes: 128 };
    await expect(parquetTexts({ path, maxBytes: 1e6, column: undefined }, limits)).rejects.toMatchObject({
      code: "BAD_FILE",
      message: `${path}: expected a Parquet file that unpacks in 50 seconds and 128 MB, got more`,
    });
  });

  test("ends what takes too long", async () => {
    const path = await fileOf(good());
    const limits = { seconds: 0.01, heapMegabytes: 128 };
    await expect(parquetTexts({ path, maxBytes: 1e6, column: undefined }, limits)).rejects.toThrow(
      "expected a Parquet file that unpacks in 0.01 seconds",
    );
  });
});
