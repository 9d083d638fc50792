/** `gprune demo`: its JSON and its outputs on the disk. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "./directories.ts";
import { gprune, json } from "./run_cli.ts";
import { DEMO_MODEL } from "./tiny_checkpoint.ts";

const KINDS = ["almanac", "arithmetic", "code", "records", "stories", "tongue"];
const TITLES = ["dense", "flap, stories only", "flap, all kinds", "gprune, all kinds"];

interface Row {
  readonly title: string;
  readonly path: string;
  readonly scores: Readonly<Record<string, { readonly ppl: number; readonly tokens: number }>>;
  readonly geometric_mean: number;
  readonly continuations: Readonly<Record<string, string>>;
}

// Takes a minute or more: the size of the demo's work is fixed.
test("prunes the embedded model in three ways, and measures and continues texts with all", {
  timeout: 1_200_000,
}, async () => {
  const output = join(await temporaryDirectory(), "out");
  const demo = await gprune("demo", "--json", "-o", output);
  expect(demo.stderr).toContain("\ndense: evaluate arithmetic: 3,072 tokens\n");
  const { sparsity, models } = json(demo);
  expect(sparsity).toBe(0.4);
  const rows = models as readonly Row[];
  expect(rows.map(({ title }) => title)).toEqual(TITLES);
  const made = ["flap-stories-only", "flap-all-kinds", "gprune-all-kinds"].map((name) => join(output, name));
  expect(rows.map(({ path }) => path)).toEqual([DEMO_MODEL, ...made]);
  for (const path of made) expect(await readdir(path)).toContain("model.safetensors");
  for (const { scores, geometric_mean: mean, continuations } of rows) {
    expect(Object.keys(scores)).toEqual(KINDS);
    // Windows of 256 tokens, of which the first one is not predicted.
    for (const { tokens } of Object.values(scores)) expect(tokens).toBe(12 * 255);
    const logs = Object.values(scores).map(({ ppl }) => Math.log(ppl));
    expect(mean).toBeCloseTo(Math.exp(logs.reduce((sum, log) => sum + log, 0) / KINDS.length), 6);
    expect(Object.keys(continuations)).toEqual(["stories", "arithmetic", "code"]);
    for (const text of Object.values(continuations)) expect(text).not.toBe("");
  }
  const [dense, narrow, , ours] = rows.map(({ geometric_mean: mean }) => mean);
  expect(dense!).toBeLessThan(ours!);
  // What FLAP with stories alone destroys, GPrune with all kinds keeps.
  expect(ours!).toBeLessThan(1.5 * dense!);
  expect(narrow!).toBeGreaterThan(5 * ours!);
});
