import { afterAll, beforeAll, expect, test } from "vitest";
import { suiteDirectory } from "./directories.ts";
import { type FaultRun, prepareFaultRun } from "./fault_run.ts";
import { chainErrors, chainKills, KINDS, undisturbed, walkErrors, walkShortCalls } from "./fault_walk.ts";

const root = suiteDirectory("faults");
let run: FaultRun;
let expected: Readonly<Record<string, string>>;
let survived = 0;

beforeAll(async () => {
  run = await prepareFaultRun(root());
  expected = await undisturbed(run);
});
afterAll(async () => {
  process.stdout.write(`${survived} faults survived\n`);
});

/** Adds up faults, and expects that there were some. */
function count(faults: number): void {
  expect(faults).toBeGreaterThan(4);
  survived += faults;
}

test("the run to be disturbed has shards, a plan and a record", () => {
  const shards = Object.keys(expected).filter((name) => name.startsWith("model-0000"));
  expect(shards.length).toBeGreaterThan(3);
  expect(Object.keys(expected)).toEqual(expect.arrayContaining(["facts.json", "plan.json", "run.json"]));
});

test("a run survives a full disk", async () => {
  count(await walkErrors(run, expected, { ...KINDS["full disk"], step: 19 }));
});

test("a run survives writes, flushes and renames that fail", async () => {
  count(await walkErrors(run, expected, { ...KINDS["failing writes"], step: 41 }));
});

test("a run survives a disk that fails again and again", async () => {
  count(await chainErrors(run, expected, { ...KINDS["failing disk"], step: 19 }));
});

test("a run survives calls that move a single byte", async () => {
  count(await walkShortCalls(run, expected, 3));
});

test("a run survives processes that are killed again and again", { timeout: 120_000 }, async () => {
  count(await chainKills(run, expected, 31));
});
