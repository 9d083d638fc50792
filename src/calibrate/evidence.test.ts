import { afterAll, describe, expect, test } from "vitest";
import { randomWindows } from "../../test/random_windows.ts";
import { tinyModel } from "../../test/tiny_model.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { calibrate } from "./calibrate.ts";
import { type Evidence, gatherEvidence, poolEvidence } from "./evidence.ts";
import { gateStatistics, poolGateStats } from "./gate_stats.ts";
import { localPasses } from "./passes.ts";
import { poolStats } from "./stats.ts";

const runtime = new Runtime({ threads: 1 });
afterAll(() => runtime.close());

describe("gatherEvidence", () => {
  test("has halves of sets that have two windows, and of no others", async () => {
    const model = tinyModel({});
    const [windows, window] = [randomWindows([8, 8, 8]), randomWindows([8], { seed: 1 })];
    const sets = [
      { name: "several", windows },
      { name: "single", windows: window },
    ];
    const { evidence, moments } = await gatherEvidence({ model, passes: localPasses(model, runtime) }, sets);
    const tokens = evidence.get("several")!.halves?.map(({ stats }) => stats.tokens);
    expect(tokens).toEqual([16, 8]);
    const { whole, halves } = evidence.get("single")!;
    expect(halves).toBeNull();
    const stats = await calibrate(new DecoderRunner(model, runtime), sets);
    expect(whole.stats).toEqual(stats.get("single"));
    expect(moments.size).toBe(0);
    expect([...evidence.values()].filter((set) => set.whole.gates !== undefined)).toEqual([]);
  });

  test("merges the gradients of halves, where they are asked for", async () => {
    const model = tinyModel({});
    const passes = localPasses(model, runtime);
    const set = { name: "x", windows: randomWindows([8, 8, 8]) };
    const { evidence } = await gatherEvidence({ model, passes }, [set], { gradients: true });
    const { whole, halves } = evidence.get("x")!;
    expect(halves!.map(({ gates }) => gates!.windows)).toEqual([2, 1]);
    const all = (await gateStatistics(new DecoderRunner(model, runtime), [set])).get("x")!;
    expect(whole.gates!.windows).toBe(3);
    for (const [id, { squares }] of all.spaces) {
      for (const [unit, value] of squares.entries()) {
        expect(whole.gates!.spaces.get(id)!.squares[unit]! / value).toBeCloseTo(1, 4);
      }
    }
  });
});

test("pooled evidence has gradients where all of it has", async () => {
  const model = tinyModel({});
  const sets = [0, 1].map((seed) => ({ name: `${seed}`, windows: randomWindows([8], { seed }) }));
  const passes = localPasses(model, runtime);
  const { evidence } = await gatherEvidence({ model, passes }, sets, { gradients: true });
  const [a, b] = [...evidence.values()].map(({ whole }) => whole) as [Evidence, Evidence];
  // By name, whatever the order.
  const weights = [
    { name: "1", weight: 2 },
    { name: "0", weight: 1 },
  ];
  const pooled = poolEvidence(evidence, weights);
  expect(pooled.stats).toEqual(poolStats([b.stats, a.stats], [2, 1]));
  expect(pooled.gates).toEqual(poolGateStats([b.gates!, a.gates!], [2, 1]));
  const without = new Map([a, { stats: b.stats }].map((whole, d) => [`${d}`, { whole }]));
  expect(poolEvidence(without, weights)).toEqual({ stats: pooled.stats });
  expect(() => poolEvidence(evidence, [{ name: "2", weight: 1 }])).toThrow("evidence of 2: expected");
});
