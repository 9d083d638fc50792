import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { letterModel } from "../../test/letter_model.ts";
import { silent } from "../base/progress.ts";
import type { SampledSet } from "../calibrate/windows.ts";
import { type RunConfigInput, resolveRunConfig } from "../config.ts";
import { makePlan } from "../prune/plan.ts";
import { type FactSources, formatFacts, readFacts, recordedFacts, runFacts } from "./facts.ts";
import { settle } from "./inputs.ts";

const model = letterModel();
const window = (...ids: readonly number[]): Int32Array => Int32Array.from(ids);
const WEB: SampledSet = {
  name: "web",
  windows: [window(1, 2), window(3, 4)],
  heldOut: [window(5, 6)],
  unused: [window(7, 8)],
};

/** The facts of a run as text, those that results depend on and the others. */
async function factsOf(
  given: RunConfigInput = {},
  { sets = [WEB], plan = null, maxShardBytes }: Partial<FactSources> = {},
): Promise<readonly [computed: string, written: string]> {
  const calibration = [{ name: "web", path: "web.txt" }];
  const named = { model: "in", output: "out", calibration, ownText: "never" } as const;
  const config = settle(resolveRunConfig({ ...named, ...given }, "test"), model.spec);
  const { computed, written } = await runFacts(config, { model, sets, plan, maxShardBytes }, silent);
  return [JSON.stringify(computed), JSON.stringify(written)];
}

describe("runFacts", () => {
  test("tell runs apart by every token, and by which windows are held out", async () => {
    const [windows, heldOut, unused] = [WEB.windows, WEB.heldOut, WEB.unused];
    const others: readonly SampledSet[] = [
      { ...WEB, windows: [window(1, 2), window(3, 5)] },
      { ...WEB, heldOut: [window(5, 7)] },
      { ...WEB, unused: [window(7, 9)] },
      { ...WEB, windows: [...windows, ...heldOut], heldOut: [] },
      { ...WEB, heldOut: [...heldOut, ...unused], unused: [] },
      { ...WEB, name: "code" },
    ];
    const all = [WEB, ...others].map(async (set) => (await factsOf({}, { sets: [set] }))[0]);
    expect(new Set(await Promise.all(all)).size).toBe(1 + others.length);
  });

  test("leave out text of its own, which follows from the rest, and what changes no byte", async () => {
    const calibration = [
      { name: "web", path: "web.txt" },
      { name: "self", path: "self" },
    ];
    const own = (...ids: readonly number[]): SampledSet => ({
      ...WEB,
      name: "self",
      windows: [window(...ids)],
    });
    const facts = await factsOf({ calibration }, { sets: [WEB, own(1)] });
    expect(await factsOf({ calibration }, { sets: [WEB, own(2)] })).toEqual(facts);
    expect(await factsOf({ output: "elsewhere", maxMemory: "4GB" })).toEqual(await factsOf());
    if (process.arch === "x64") expect(await factsOf({ threads: 3 })).toEqual(await factsOf({ threads: 1 }));
  });

  test("have the plan among what results depend on, and dtype and shards among the rest", async () => {
    const [computed, written] = await factsOf();
    const plans = [{}, { "layers.0.ffn": [0] }].map((keep) => makePlan(model.spec, keep));
    const planned = await Promise.all(plans.map(async (plan) => (await factsOf({}, { plan }))[0]));
    expect(new Set([computed, ...planned]).size).toBe(3);
    const otherFiles = [await factsOf({ dtype: "bf16" }), await factsOf({}, { maxShardBytes: 1e9 })];
    for (const facts of otherFiles) {
      expect(facts[0]).toBe(computed);
      expect(facts[1]).not.toBe(written);
    }
  });
});

test("facts are read back as they were, and other files are none", async () => {
  const path = join(await temporaryDirectory(), "facts.json");
  expect(await readFacts(path)).toBeNull();
  const facts = recordedFacts({ computed: { seed: 1 }, written: { dtype: "auto" } });
  await writeFile(path, formatFacts({ facts, result: { sparsity: 0.5 } }));
  expect(await readFacts(path)).toMatchObject({
    facts: { seed: 1, written: { dtype: "auto" } },
    result: { sparsity: 0.5 },
  });
  await writeFile(path, JSON.stringify({ format: "gprune-facts", version: 2, facts, result: {} }));
  expect(await readFacts(path)).toBeNull();
});
