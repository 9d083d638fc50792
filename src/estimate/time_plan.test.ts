import { describe, expect, test } from "vitest";
import { tinySpec } from "../../test/tiny_model.ts";
import { type RunConfigInput, resolveRunConfig } from "../config.ts";
import { leftInLayers } from "../prune/remaining.ts";
import { settle } from "../run/inputs.ts";
import { planMemory } from "./memory_plan.ts";
import { type PlannedRun, roundTokens } from "./planned_run.ts";
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

test("rounds of learning take windows in turn, at most those there are", () => {
  const run = planned({ gradientWindows: 3 });
  expect([1, 2].map((rounds) => roundTokens(run, rounds))).toEqual([2 * 3 * T, 2 * 4 * T]);
  expect(roundTokens({ ...run, tokens: 5 * T }, 1)).toBe(5 * T);
});

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

  test("counts products there and back, and of the covariances, by about as many as there are", () => {
    const matrices = LAYERS * 2 * (4 * C * C + 3 * C * F);
    const attention = LAYERS * 2 * 2 * T * C;
    const tokens = 2 * 4 * T;
    // Gradients of inputs take as many products again, and of scores and values twice as many.
    const thereAndBack = 2 * matrices + 3 * attention + 2 * 2 * C * V;
    const { learn } = timeOf({ recover: "bias" }, { gradients: true, allocation: "global" });
    expect((learn! * 1e9 * 0.62) / (tokens * thereAndBack)).toBeCloseTo(1, 1);
    // Least squares has the windows twice, and multiplies what enters output projections by itself, half by symmetry.
    const [bias, lstsq] = (["bias", "lstsq"] as const).map(
      (recover) => timeOf({ recover, method: "none" }).calibrate!,
    );
    const added = (lstsq! - bias!) * 1e9 * 0.62 - tokens * (matrices + attention);
    const squares = 2 * tokens * LAYERS * 2 * (64 ** 2 + F ** 2);
    expect(added / squares).toBeGreaterThan(0.5);
    expect(added / squares).toBeLessThan(1);
    // Training has weights' gradients, too, of the three quarters that stay, and the dense model's states.
    const { recover } = timeOf({ recover: "distill", steps: 10, sparsity: 0.25, method: "none" });
    const { recover: refitted } = timeOf({ recover: "lstsq", sparsity: 0.25, method: "none" });
    const trained = 10 * 8 * T * ((1 + 3 * 0.75) * (matrices + attention) + 4 * 2 * C * V);
    const ratio = ((recover! - refitted!) * 1e9 * 0.62) / trained;
    expect(ratio).toBeGreaterThan(0.9);
    expect(ratio).toBeLessThan(1.1);
  });

  test("counts updates of the weights that stay, however fast products are", () => {
    const run = planned({ recover: "distill", steps: 10, sparsity: 0.25, method: "none" });
    const { places } = planMemory(run, Number.POSITIVE_INFINITY);
    const { stages } = planTime(run, places, { speed: Number.POSITIVE_INFINITY, bytes: 0 });
    const weights = leftInLayers(run.spec, 0.25);
    expect(stages).toEqual({ recover: expect.closeTo(10 * weights * 5e-9, 12) });
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
