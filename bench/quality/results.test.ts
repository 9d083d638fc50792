import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { readRows, type Settings, writeRows } from "./results.ts";
import type { Row } from "./table.ts";

const SETTINGS: Settings = {
  model: "SmolLM2-135M-Instruct.Q4_1.gguf",
  single: "wiki",
  samples: 24,
  limit: 24,
  taskLimit: 200,
  seqLen: 512,
};
const ROW: Row = {
  sparsity: 0.5,
  recover: "bias",
  metric: "fisher",
  variant: "base",
  leftOut: "",
  achieved: 0.5,
  seconds: 3,
  ppl: { web: 12.5 },
  geometricMean: 12.5,
  tasks: {},
};

let directory: string;
let path: string;
beforeEach(async () => {
  directory = await temporaryDirectory();
  path = join(directory, "a.json");
});

test("rows come back, and there are none before", async () => {
  expect(readRows(path, SETTINGS)).toEqual([]);
  writeRows(path, SETTINGS, [ROW]);
  expect(readRows(path, { ...SETTINGS })).toEqual([ROW]);
  writeRows(path, SETTINGS, [ROW, { ...ROW, sparsity: 0.2 }]);
  expect(readRows(path, SETTINGS)).toHaveLength(2);
  expect(await readdir(directory)).toEqual(["a.json"]);
});

test("what is there and cannot be read is not taken for nothing", async () => {
  writeRows(path, SETTINGS, [ROW]);
  const whole = await readFile(path, "utf8");
  for (const text of [whole.slice(0, -9), "", "null", "[]", JSON.stringify({ rows: [ROW] })]) {
    await writeFile(path, text);
    expect(() => readRows(path, SETTINGS)).toThrow("a.json: expected settings and rows, got something else");
  }
  expect(() => readRows(directory, SETTINGS)).toThrow("EISDIR");
});

test.each(Object.keys(SETTINGS))("rows of another %s are refused", (name) => {
  writeRows(path, SETTINGS, [ROW]);
  expect(() => readRows(path, { ...SETTINGS, [name]: 48 })).toThrow(
    /a.json: expected .* choose another --tag/,
  );
});

test("the rows that are kept here are those of the settings that the README names", () => {
  const rows = readRows(join(import.meta.dirname, "..", "results", "smollm2-135m.json"), SETTINGS);
  expect(rows[0]?.geometricMean).toBeCloseTo(11.49, 2);
});
