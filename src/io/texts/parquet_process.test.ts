import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { type ColumnSource, parquetWriteBuffer } from "hyparquet-writer";
import { describe, expect, test, vi } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { ownProgram } from "../files/own_program.ts";
import { parquetRows, parquetTexts } from "./parquet_process.ts";

async function fileOf(bytes: Uint8Array): Promise<string> {
  const path = join(await temporaryDirectory(), "a.parquet");
  await writeFile(path, bytes);
  return path;
}

const CONTENT = ["one \u0000 \u2028", "zwei ü 🙂", "\ud800"];
const good = (): Uint8Array =>
  new Uint8Array(parquetWriteBuffer({ columnData: [{ name: "text", data: CONTENT, type: "STRING" }] }));

/** A footer of nested lists that each claim 32 million items: 600 bytes that ask for 25 GB. */
function listBomb(): Uint8Array {
  const list = [0xf9, 0xff, 0xff, 0xff, 0x0f];
  const footer = Uint8Array.from([0x19, ...Array.from({ length: 100 }, () => list).flat()]);
  const length = new Uint8Array(Uint32Array.of(footer.length).buffer);
  return Buffer.concat([Buffer.from("PAR1"), footer, length, Buffer.from("PAR1")]);
}

/** A page whose levels claim that its one value is repeated a billion times. */
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

/** A page of one value without its size, after which the reader searches forever for the next. */
function endlessPage(): Uint8Array {
  const columnData: ColumnSource[] = [{ name: "text", data: [..."abc"], type: "STRING" }];
  const bytes = Buffer.from(parquetWriteBuffer({ columnData, codec: "UNCOMPRESSED" }));
  const header = [0x15, 0x06, 0x15, 0x22, 0x15, 0x22, 0x5c, 0x15, 0x06];
  if (bytes.indexOf(Uint8Array.from(header)) !== 4) throw new Error("expected another header of a page");
  // The third field becomes the fourth, and the structure after it stays the eighth.
  bytes.set([0x15, 0x06, 0x15, 0x22, 0x25, 0x22, 0x4c, 0x15, 0x02], 4);
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
      message: `${path}: expected a text column body, got none`,
      hint: "Its text columns are text.",
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
      message: `${path}: expected a Parquet file that can be decoded in 50 seconds and 128 MB, got a larger one`,
    });
  });

  test("ends what takes too long", async () => {
    const path = await fileOf(endlessPage());
    const limits = { seconds: 3, heapMegabytes: 128 };
    await expect(parquetTexts({ path, maxBytes: 1e6, column: undefined }, limits)).rejects.toThrow(
      "expected a Parquet file that can be decoded in 3 seconds",
    );
  });

  test("ends with its parent, whatever it is at", { timeout: 60_000 }, async () => {
    const request = JSON.stringify({ path: await fileOf(endlessPage()), maxBytes: 1e6 });
    const { path, nodeOptions } = ownProgram("parquet_child", import.meta.url);
    const args = JSON.stringify([...nodeOptions, path, request]);
    const start = `const { spawn } = require("node:child_process");
      console.log(spawn(process.execPath, ${args}, { stdio: "ignore" }).pid);
      setInterval(() => {}, 1000);`;
    const parent = spawn(process.execPath, ["-e", start]);
    const [said] = await once(parent.stdout, "data");
    const pid = Number(String(said));
    // Long enough for the child to reach the page.
    await setTimeout(5000);
    expect(process.kill(pid, 0)).toBe(true);
    parent.kill("SIGKILL");
    await vi.waitFor(() => expect(() => process.kill(pid, 0)).toThrow("ESRCH"), { timeout: 20_000 });
  });
});

describe("the end of the process", () => {
  const ask = async (path: string): Promise<unknown> => {
    return parquetTexts({ path, maxBytes: 1e6, column: undefined }).catch((error: unknown) => error);
  };

  test.each([
    ["told later", ".no-node"],
    ["told at once", "/no-node"],
  ])("is no limit of the file's when it does not start, %s", async (_, ending) => {
    const path = await fileOf(good());
    const node = process.execPath;
    process.execPath = `${path}${ending}`;
    try {
      expect(await ask(path)).toMatchObject({
        code: "INTERNAL",
        message: expect.stringMatching(
          /a\.parquet: expected rows from the decoding process, but it did not start: spawn /,
        ),
        hint: expect.stringContaining("Repeat the command"),
      });
    } finally {
      process.execPath = node;
    }
  });

  test("reports the process's own error message when it fails", async () => {
    const path = await fileOf(good());
    vi.stubEnv("NODE_OPTIONS", "--require /no/such/module.cjs");
    try {
      expect(await ask(path)).toMatchObject({
        code: "INTERNAL",
        message: expect.stringMatching(
          /a\.parquet: expected rows from the decoding process, but it ended with exit code 1: Error: Cannot find module/,
        ),
      });
    } finally {
      vi.unstubAllEnvs();
    }
  });

  test("that comes of too many rows says so", async () => {
    const rows = Array.from({ length: 3000 }, (_, i) => `${i} ${"x".repeat(1000)}`);
    const path = await fileOf(
      new Uint8Array(parquetWriteBuffer({ columnData: [{ name: "text", data: rows, type: "STRING" }] })),
    );
    await expect(parquetRows(path, 3000, { maxBytes: 1000 })).rejects.toMatchObject({
      code: "BAD_FILE",
      message: `${path}: expected rows of at most 1000 bytes as JSON, got more`,
      hint: "Read fewer rows (--limit) or split the file.",
    });
    expect(await parquetRows(path, 3000)).toHaveLength(3000);
  });
});

test("documents that are longer than their share are no reason to refuse a file", async () => {
  const long = Array.from({ length: 64 }, (_, i) => `${i} ${"ü ".repeat(25_000)}`);
  const path = await fileOf(
    new Uint8Array(
      parquetWriteBuffer({ columnData: [{ name: "text", data: long, type: "STRING" }], rowGroupSize: 1 }),
    ),
  );
  const maxBytes = 84_000;
  const texts = await parquetTexts({ path, maxBytes, column: undefined });
  expect(texts).toEqual([long[0]]);
  const [cut] = await parquetTexts({ path, maxBytes: 1000, column: undefined });
  expect(cut).toBe(long[0]!.slice(0, 999));
});
