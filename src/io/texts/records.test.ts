import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parquetWriteBuffer } from "hyparquet-writer";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import type { JsonLine } from "./json_lines.ts";
import { readRecords } from "./records.ts";

async function read(name: string, content: string | Uint8Array, limit = 10): Promise<readonly JsonLine[]> {
  const path = join(await temporaryDirectory(), name);
  await writeFile(path, content);
  const records = await readRecords(path, limit);
  return records.map(({ where, value }) => ({ where: where.replace(path, "PATH"), value }));
}

describe("readRecords", () => {
  test.each(["a.jsonl", "a.json", "a.txt"])("reads JSON Lines whatever the name: %s", async (name) => {
    expect(await read(name, '{"a": 1}\n\n{"a": 2}\nno JSON', 2)).toEqual([
      { where: "PATH line 1", value: { a: 1 } },
      { where: "PATH line 3", value: { a: 2 } },
    ]);
  });

  test("reads a JSON list", async () => {
    expect(await read("a.json", ' [{"a": 1}, {"a": [2]}, 3]', 2)).toEqual([
      { where: "PATH item 1", value: { a: 1 } },
      { where: "PATH item 2", value: { a: [2] } },
    ]);
  });

  test("reads rows of Parquet over several row groups, whole numbers as numbers", async () => {
    const data = Array.from({ length: 6 }, (_, i) => i);
    const bytes = parquetWriteBuffer({
      columnData: [
        { name: "id", data: data.map(BigInt), type: "INT64" },
        { name: "choices", data: data.map((i) => ({ text: [`a${i}`, "b"], n: i })), type: "JSON" },
        { name: "ok", data: data.map((i) => i % 2 === 0), type: "BOOLEAN" },
      ],
      rowGroupSize: 2,
    });
    const records = await read("A.PARQUET", new Uint8Array(bytes), 5);
    expect(records).toHaveLength(5);
    expect(records[4]).toEqual({
      where: "PATH row 5",
      value: { id: 4, choices: { text: ["a4", "b"], n: 4 }, ok: true },
    });
  });

  test.each([
    ["a.jsonl", " \n"],
    ["a.json", "[]"],
  ])("refuses what has no records: %s", async (name, content) => {
    await expect(read(name, content)).rejects.toMatchObject({
      code: "BAD_TEXT",
      message: expect.stringMatching(/expected at least one record, got an empty file$/),
    });
  });
});
