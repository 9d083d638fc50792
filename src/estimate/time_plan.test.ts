import { describe, expect, test } from "vitest";
import { tinySpec } from "../../test/tiny_model.ts";
import { type RunConfigInput, resolveRunConfig } from "../config.ts";
import { settle } from "../run/inputs.ts";
import { planMemory } from "./memory_plan.ts";
import type { PlannedRun } from "./planned_run.ts";
import { planTime, type TimePlan } from "./time_plan.ts";

const [LAYERS, C, F, V, T] = [4, 64, 256, 512, 128];
const CALIBRATION = ["a", "b"].map((name) => ({ name, path: `${name}.txt` }));

function planned(settings: RunConfigInput, changes: Partial<PlannedRun> = {}): PlannedRun {
  const layer = { neurons: F, kvGroups: 4, groupSize: 1, rope: null };
  const layers = Array.from({ length: LAYERS }, () => layer);
  const spec = tinySpec({ hiddenSize: C, headDim: 16, vocabSize: V, maxPositions: 256, layers });
  const base = { model: "m", output: "o", calibration: CALIBRATION, samples: 4, seqLen: T } as const;
  const config = settle(resolveRunConfig({ ...base, ownText: "never", ...settings }, "test"), spec);
  const tokens = 2 * 4 * T;
  const texts = { tokens, refitTokens: 2 * tokens, encodingBytes: 0, checks: true, decidesByText: true };
  return { spec, config, ...texts, allocation: config.allocation ?? "learned", gradients: false, ...changes };
}

function timeOf(settings: RunConfigInput, changes?: Partial<PlannedRun>): TimePlan["stages"] {
  const run = planned(settings, changes);
  const { places } = planMemory(run, Number.POSITIVE_INFINITY);
  const plan = planTime(run, places, { speed: 1e9, bytes: 2e8 });
  expect(plan.seconds).toBeCloseTo(Object.values(plan.stages).reduce((sum, seconds) => sum + seconds, 0));
  return plan.stages;
}

describe("planTime", () => {
  test("counts the operations of a forward pass", () => {
    const { check, calibrate } = timeOf({ recover: "bias", sparsity: 0.5, method: "none" });
    // Per token in all layers: q, k, v, o, gate, up and down; attention scores and their products with the values.
    const layers = LAYERS * 2 * (4 * C * C + 3 * C * F + 2 * T * C);
    // Both models over two windows of each set; the pruned one has half of the units.
    const expected = 2 * 2 * T * (1.5 * layers + 2 * 2 * C * V);
    expect(check! * 1e9).toBeCloseTo(expected / 0.62, -3);
    // Statistics add up columns, by products with a vector each.
    const sums = LAYERS * 3 * 2 * (C + F);
    expect(calibrate! * 1e9).toBeCloseTo((2 * 4 * T * (layers + sums)) / 0.62, -3);
  });

  test("counts Cholesky factors of what is kept, solutions for every output, and bytes", () => {
    const { recover, save } = timeOf({ recover: "lstsq", sparsity: 0.25, method: "none" });
    // Four heads of 16 channels and F neurons, three quarters of which stay; n^3 / 3 for a factor, 2 n^2 a solution.
    const ofSpace = (n: number): number => n ** 3 / 3 + 2 * n ** 2 * C;
    const expected = LAYERS * (ofSpace(0.75 * 64) + ofSpace(0.75 * F));
    expect(recover! * 1e9).toBeCloseTo(expected / 0.07, -3);
    expect(save).toBe(1);
  });

  test("counts decoding of text of its own token by token, with a cache that grows to a window", () => {
    const own = [...CALIBRATION, { name: "self", path: "self" }];
    const { "own text": seconds } = timeOf({ calibration: own });
    const layers = LAYERS * 2 * (4 * C * C + 3 * C * F + 2 * (T / 2) * C);
    const expected = (4 + 2) * T * (layers + 2 * C * V);
    expect((seconds! * 1e9 * 0.12) / expected).toBeCloseTo(1, 1);
  });

  test("has the stages that a run has", () => {
    const stages = (settings: RunConfigInput, changes?: Partial<PlannedRun>): readonly string[] =>
      Object.keys(timeOf(settings, changes));
    const ranked = { allocation: "global" };
    expect(stages({ recover: "none" }, ranked)).toEqual(["calibrate", "check", "save"]);
    expect(stages({})).toEqual(["calibrate", "learn", "refine", "recover", "check", "save"]);
    expect(stages({ refine: false, recover: "bias" })).toEqual(["calibrate", "learn", "check", "save"]);
    expect(stages({}, { allocation: "given" })).toEqual(["calibrate", "recover", "check", "save"]);
    const none = { tokens: 0, refitTokens: 0, checks: false, decidesByText: false };
    expect(stages({ metric: "magnitude", method: "none", recover: "none" }, none)).toEqual(["save"]);
    const own = [...CALIBRATION, { name: "self", path: "self" }];
    expect(stages({ calibration: own })[0]).toBe("own text");
  });

  test("grows with rounds, windows and steps", () => {
    const few = timeOf({ rounds: 2, recover: "distill", steps: 10 });
    const many = timeOf({ rounds: 6, recover: "distill", steps: 30 });
    expect(many.learn! / few.learn!).toBeCloseTo(3);
    const untrained = timeOf({}).recover!;
    expect((many.recover! - untrained) / (few.recover! - untrained)).toBeCloseTo(3);
    // Gradients of a metric are added to those of the rounds.
    const [both, metric, rounds] = [
      timeOf({}, { gradients: true }),
      timeOf({}, { gradients: true, allocation: "global" }),
      timeOf({}),
    ].map(({ learn }) => learn!) as [number, number, number];
    expect(both).toBeCloseTo(metric + rounds);
  });

  test("takes longer where activations are computed again", () => {
    const run = planned({});
    const { places } = planMemory(run, Number.POSITIVE_INFINITY);
    const [kept, again] = [true, false].map((keepActivations) =>
      planTime(run, { ...places, keepActivations }, { speed: 1e9, bytes: 0 }),
    ) as [TimePlan, TimePlan];
    expect(again.stages.learn! / kept.stages.learn!).toBeGreaterThan(1.1);
    expect(again.stages.calibrate).toBe(kept.stages.calibrate);
  });
});
