import { afterAll, describe, expect, test, vi } from "vitest";
import { tensorsOf } from "../../test/plans.ts";
import { randomWindows } from "../../test/random_windows.ts";
import { referenceDecoder } from "../../test/reference_decoder.ts";
import { randomTensor, tinyModel } from "../../test/tiny_model.ts";
import type { Checkpoints } from "../base/stages.ts";
import type { WeightedTokenSet } from "../calibrate/calibrate.ts";
import { windowsInTurn } from "../calibrate/windows.ts";
import { ROOMY } from "../graph/runtime/memory_policy.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import type { Model } from "../model/model.ts";
import { makePlan } from "../prune/plan.ts";
import { applyPlan } from "../prune/surgery.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { AdamW } from "./adamw.ts";
import { type DistillRequest, defaultLearningRate, distill } from "./distill.ts";
import { planBatches } from "./distill_batches.ts";
import { restoreSnapshot, type TrainingSnapshot, type TrainingStep } from "./training_state.ts";
import { withTensors } from "./with_tensors.ts";

const runtime = new Runtime({ threads: 1 });
afterAll(() => runtime.close());

const dense = tinyModel({ layers: [{}, {}, {}] });
const student = applyPlan(
  dense,
  makePlan(dense.spec, { "layers.0.ffn": [0, 2, 4], "layers.1.kv": [1], "layers.2.ffn": [1, 3, 5] }),
);
const sets: readonly WeightedTokenSet[] = [
  { name: "a", weight: 2, windows: randomWindows([12, 12, 12, 12]) },
  { name: "b", weight: 1, windows: randomWindows([12, 12], { seed: 1 }) },
];
const request: DistillRequest = {
  dense,
  student,
  runtime,
  sets,
  leadingId: null,
  steps: 24,
  learningRate: 3e-3,
  seed: 0,
};

/** The hidden loss of the first step of eight windows, from hidden states in float64. */
async function naiveHiddenLoss(own: Pick<DistillRequest, "dense" | "student" | "sets">): Promise<number> {
  const [windows] = planBatches(own.sets, { steps: 1, size: 8, seed: 0 });
  const [taught, learned] = [await referenceDecoder(own.dense), await referenceDecoder(own.student)];
  const norm = (values: readonly number[]): number => Math.hypot(...values);
  const distances = windows!.flatMap((window) => {
    const [targets, states] = [taught(window).hidden, learned(window).hidden];
    return targets.flatMap((rows, layer) =>
      rows.map((row, t) => {
        const difference = norm(row.map((x, c) => x - states[layer]![t]![c]!));
        return norm(row) === 0 ? 0 : difference / norm(row);
      }),
    );
  });
  expect(distances).toHaveLength(8 * 3 * 12);
  const losses = distances.map((distance) => (distance <= 1 ? distance ** 2 : 2 * distance - 1));
  return losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
}

describe("distill", () => {
  test("brings the student nearer to the dense model and leaves both models it was given alone", async () => {
    const before = await tensorsOf(student);
    const { model, curve } = await distill({ ...request, steps: 60 });
    expect(curve.map(({ step }) => step)).toEqual(Array.from({ length: 60 }, (_, i) => i + 1));
    const mean = (key: "divergence" | "hidden", start: number): number =>
      curve.slice(start, start + 6).reduce((sum, point) => sum + point[key], 0) / 6;
    expect(mean("divergence", 54)).toBeLessThan(0.6 * mean("divergence", 0));
    expect(mean("hidden", 54)).toBeLessThan(0.8 * mean("hidden", 0));
    expect(model.spec).toEqual(student.spec);
    for (const [name, { data }] of before) expect((await student.weights.read(name)).data).toEqual(data);
  });

  test("adds up the gradients of windows of different lengths", async () => {
    const [long, short] = [
      { name: "long", weight: 1, windows: randomWindows([12, 12, 12, 12]) },
      { name: "short", weight: 1, windows: randomWindows([7, 7, 7, 7], { seed: 1 }) },
    ];
    /** The first moments after one step, which are proportional to its gradients. */
    const gradientsOf = async (own: readonly WeightedTokenSet[]): Promise<readonly number[]> => {
      let moments: TrainingSnapshot["moments"] = new Map();
      const checkpoints: Checkpoints<TrainingSnapshot> = {
        restore: async () => undefined,
        reached: async (state) => {
          ({ moments } = state());
        },
      };
      await distill({ ...request, sets: own, steps: 1, checkpoints });
      return [...moments.values()].flatMap(({ first }) => [...first]);
    };
    // A step takes eight windows: every one of both sets, or all of one set twice.
    const [both, ofLong, ofShort] = [
      await gradientsOf([long, short]),
      await gradientsOf([long]),
      await gradientsOf([short]),
    ];
    const largest = Math.max(...both.map(Math.abs));
    for (const [i, value] of both.entries()) {
      expect(Math.abs(value - (ofLong[i]! + ofShort[i]!) / 2)).toBeLessThan(1e-5 * largest);
    }
  });

  test("compares the hidden states after every layer, relative to the dense model's", async () => {
    const { curve } = await distill({ ...request, steps: 1 });
    expect(curve[0]!.hidden / (await naiveHiddenLoss(request))).toBeCloseTo(1, 4);
  });

  test("follows the slopes of divergence and hidden loss together", async () => {
    const names = ["0.mlp.down_proj", "1.self_attn.q_proj", "2.input_layernorm"].map(
      (name) => `model.layers.${name}.weight`,
    );
    /** Both losses of the first step, and the gradients by the first moments that it leaves. */
    const firstStep = async (own: Model) => {
      let moments: TrainingSnapshot["moments"] = new Map();
      const checkpoints: Checkpoints<TrainingSnapshot> = {
        restore: async () => undefined,
        reached: async (state) => {
          ({ moments } = state());
        },
      };
      const { curve } = await distill({ ...request, student: own, steps: 1, checkpoints });
      return { loss: curve[0]!.divergence + curve[0]!.hidden, moments };
    };
    const { moments } = await firstStep(student);
    for (const name of names) {
      const { shape, data } = await student.weights.read(name);
      const lossAt = async (index: number, change: number): Promise<number> => {
        const changed = { shape, data: data.map((value, i) => (i === index ? value + change : value)) };
        return (await firstStep(withTensors(student, new Map([[name, changed]])))).loss;
      };
      // Moments have a tenth of the gradient, which is summed over the eight windows.
      const gradient = moments.get(name)!.first.map((value) => (10 * value) / 8);
      const largest = gradient.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      for (const index of [0, 3, 5]) {
        const slope = ((await lossAt(index, 0.005)) - (await lossAt(index, -0.005))) / 0.01;
        expect(Math.abs(slope - gradient[index]!)).toBeLessThan(0.01 * largest);
      }
    }
  });

  test("raises the learning rate over a twentieth of the steps, then lowers it along a cosine to a tenth", async () => {
    const { curve } = await distill({ ...request, steps: 42, learningRate: 1e-3 });
    const rates = curve.map(({ learningRate }) => 1000 * learningRate);
    expect(rates.slice(0, 2)).toEqual([0.5, 1]);
    for (const [index, rate] of rates.slice(2).entries()) {
      expect(rate).toBeCloseTo(0.55 + 0.45 * Math.cos((Math.PI * (index + 1)) / 40), 12);
    }
    expect(rates.at(-1)).toBeCloseTo(0.1, 12);
    expect((await distill({ ...request, steps: 1, learningRate: 1e-3 })).curve[0]!.learningRate).toBe(1e-3);
  });

  test("learns the same, to the bit, from activations that were kept", async () => {
    const keeping = new Runtime({ threads: 1, memory: { ...ROOMY, keepActivations: true } });
    const programs = vi.spyOn(keeping, "program");
    const [again, kept] = [runtime, keeping].map((own) => distill({ ...request, steps: 3, runtime: own }));
    expect(await tensorsOf((await kept!).model)).toEqual(await tensorsOf((await again!).model));
    expect(programs.mock.calls.some(([key]) => key.startsWith("trainKept"))).toBe(true);
    await keeping.close();
  });

  test.each<[string, Partial<DistillRequest>]>([
    ["no sets", { sets: [] }],
    ["a set without windows", { sets: [...sets, { name: "c", weight: 1, windows: [] }] }],
    ["a set without weight", { sets: [{ ...sets[0]!, weight: 0 }] }],
    ["no steps", { steps: 0 }],
    ["a learning rate below 0", { learningRate: -1 }],
    ["a learning rate that is no number", { learningRate: Number.NaN }],
    ["a learning rate without end", { learningRate: Number.POSITIVE_INFINITY }],
  ])("refuses %s", async (_, change) => {
    await expect(distill({ ...request, ...change })).rejects.toMatchObject({ code: "BAD_ARGUMENT" });
  });

  test.each([1, 8])("says that training diverged, in %d steps", async (steps) => {
    await expect(distill({ ...request, steps, learningRate: 1e39 })).rejects.toMatchObject({
      code: "NOT_FINITE",
      message: expect.stringMatching(/, after step 1 of training$/),
      hint: "Training diverged: use a learning rate below 1e+39.",
    });
  });

  test("takes a learning rate by the hidden size and by the share of prunable parameters that is missing", async () => {
    const rate = (hiddenSize: number, neurons: number): number => {
      const sized = (kept: number): Model =>
        tinyModel({ hiddenSize, layers: [{ neurons: kept, kvGroups: 1, groupSize: 2 }] });
      return defaultLearningRate({ dense: sized(8), student: sized(neurons) });
    };
    expect(rate(256, 8)).toBe(0);
    expect(rate(256, 6)).toBeGreaterThan(0);
    expect(rate(256, 4)).toBeCloseTo(2 * rate(256, 6), 10);
    expect(rate(512, 4)).toBeCloseTo(rate(256, 4) / 2, 10);
    expect(rate(64, 4)).toBe(rate(256, 4));
    const curve = async (change: Partial<DistillRequest>): Promise<readonly number[]> =>
      (await distill({ ...request, steps: 4, ...change })).curve.map(({ learningRate }) => learningRate);
    const unsaid = await curve({ learningRate: undefined });
    expect(unsaid).toEqual(await curve({ learningRate: defaultLearningRate(request) }));
    expect(Math.max(...unsaid)).toBe(defaultLearningRate(request));
  });

  test("takes no higher learning rate for more than half removed", () => {
    const sized = (neurons: number): Model => tinyModel({ layers: [{ neurons, kvGroups: 1 }] });
    const rate = (neurons: number): number =>
      defaultLearningRate({ dense: sized(60), student: sized(neurons) });
    expect(rate(10)).toBe(rate(2));
    expect(rate(50)).toBeLessThan(rate(10));
  });

  test("measures no loss between the dense model and itself", async () => {
    const { curve } = await distill({ ...request, student: dense, steps: 1 });
    expect(curve[0]!.divergence).toBeLessThan(1e-6);
    expect(curve[0]!.hidden).toBeLessThan(1e-10);
  });

  test("counts no hidden states of tokens for which the dense model's are zero", async () => {
    const { data, shape } = await dense.weights.read("model.embed_tokens.weight");
    // The embedding of token 0 is 0; at the start of a window its hidden states stay 0 in all layers.
    const rows = { shape, data: data.map((value, i) => (i < dense.spec.hiddenSize ? 0 : value)) };
    const embedding = new Map([["model.embed_tokens.weight", rows]]);
    const layers = student.spec.layers.map((layer) => ({ ...layer, biases: ["down_proj"] as const }));
    const biases = [0, 1, 2].map((layer): [string, Tensor] => {
      return [`model.layers.${layer}.mlp.down_proj.bias`, randomTensor([8], { name: `bias ${layer}` })];
    });
    const padded = sets.map((set) => {
      return { ...set, windows: set.windows.map((ids) => Int32Array.from(ids, (id, i) => (i < 3 ? 0 : id))) };
    });
    const own = {
      dense: withTensors(dense, embedding),
      student: withTensors(student, new Map([...embedding, ...biases]), layers),
      sets: padded,
    };
    const { curve } = await distill({ ...request, ...own, steps: 2 });
    expect(curve[0]!.hidden / (await naiveHiddenLoss(own))).toBeCloseTo(1, 4);
    // Nor do they spoil the gradients.
    for (const value of [curve[1]!.divergence, curve[1]!.hidden]) expect(Number.isFinite(value)).toBe(true);
  });

  test("counts hidden states that are far off by their distance, not by its square", async () => {
    const layers = student.spec.layers.map((layer) => ({ ...layer, biases: ["down_proj"] as const }));
    const hiddenLoss = async (size: number): Promise<number> => {
      const bias = { shape: [8], data: new Float32Array(8).fill(size) };
      const biases = new Map([0, 1, 2].map((layer) => [`model.layers.${layer}.mlp.down_proj.bias`, bias]));
      const far = withTensors(student, biases, layers);
      return (await distill({ ...request, student: far, steps: 1 })).curve[0]!.hidden;
    };
    const [near, far] = [await hiddenLoss(1e3), await hiddenLoss(1e4)];
    expect(far / near).toBeGreaterThan(9);
    expect(far / near).toBeLessThan(11);
  });

  test("does the same again with the same seed, and something else with another one", async () => {
    const tensors = async (seed: number): Promise<unknown> =>
      tensorsOf((await distill({ ...request, steps: 3, seed })).model);
    const first = await tensors(0);
    expect(await tensors(0)).toEqual(first);
    expect(await tensors(1)).not.toEqual(first);
  });
});

describe("checkpoints", () => {
  test("let an interrupted run end with the bytes of an uninterrupted one", async () => {
    let kept: TrainingSnapshot | undefined;
    /** Keeps a copy of the state at `step`, and is cut off there. */
    const until = (step: number): Checkpoints<TrainingSnapshot> => ({
      restore: async () => kept,
      reached: async (state) => {
        if (state().curve.length < step) return;
        kept = structuredClone(state());
        throw new Error("cut off");
      },
    });
    for (const step of [5, 13]) {
      await expect(distill({ ...request, checkpoints: until(step) })).rejects.toThrow("cut off");
      expect(kept!.curve).toHaveLength(step);
    }
    const resumed = await distill({ ...request, checkpoints: until(Number.POSITIVE_INFINITY) });
    const whole = await distill(request);
    expect(resumed.curve).toEqual(whole.curve);
    expect(await tensorsOf(resumed.model)).toEqual(await tensorsOf(whole.model));
  });
});

describe("restoreSnapshot", () => {
  test("takes a curve of any length", () => {
    const state = { tensors: new Map(), optimizer: new AdamW(), curve: [] as TrainingStep[] };
    const step = { step: 1, divergence: 1, hidden: 1, learningRate: 1 };
    const curve = new Array<TrainingStep>(300_000).fill(step);
    restoreSnapshot(state, { tensors: new Map(), moments: new Map(), curve });
    expect(state.curve.length).toBe(curve.length);
  });
});

describe("planBatches", () => {
  test("gives sets their share and every window once before any comes again", () => {
    const batches = planBatches(sets, { steps: 6, size: 2, seed: 0 });
    const drawn = batches.flat();
    const of = (set: WeightedTokenSet): readonly Int32Array[] =>
      drawn.filter((window) => set.windows.includes(window));
    expect([of(sets[0]!).length, of(sets[1]!).length]).toEqual([8, 4]);
    // Never a whole window from its share, two thirds of them.
    for (let count = 1; count <= drawn.length; count++) {
      const taken = drawn.slice(0, count).filter((window) => sets[0]!.windows.includes(window));
      expect(Math.abs(taken.length - (2 * count) / 3)).toBeLessThan(1);
    }
    for (const set of sets) {
      const seen = of(set);
      for (let start = 0; start < seen.length; start += set.windows.length) {
        expect(new Set(seen.slice(start, start + set.windows.length)).size).toBe(set.windows.length);
      }
    }
  });

  test("takes a set's windows in turn", () => {
    const [set] = sets;
    const row = Array.from({ length: 9 }, (_, start) =>
      windowsInTurn(set!.windows, { start, count: 1 }, { seed: 5, label: `distill ${set!.name}` }),
    );
    expect(planBatches([set!], { steps: 3, size: 3, seed: 5 }).flat()).toEqual(row.flat());
  });

  test("gives the same first batches whatever the number of steps", () => {
    const short = planBatches(sets, { steps: 3, size: 2, seed: 5 });
    expect(planBatches(sets, { steps: 9, size: 2, seed: 5 }).slice(0, 3)).toEqual(short);
  });
});

describe("AdamW", () => {
  test("does what algorithm 2 of the paper says, without decay", () => {
    const optimizer = new AdamW();
    const weights = Float32Array.of(1, -2);
    let [w, m, v] = [1, 0, 0];
    for (let time = 1; time <= 4; time++) {
      const g = Math.sin(time);
      optimizer.update("w", { weights, gradient: Float32Array.of(g, 0) }, { time, rate: 0.05 });
      m = 0.9 * m + 0.1 * g;
      v = 0.95 * v + 0.05 * g * g;
      w -= (0.05 * (m / (1 - 0.9 ** time))) / (Math.sqrt(v / (1 - 0.95 ** time)) + 1e-8);
      expect(weights[0]).toBeCloseTo(w, 6);
    }
    expect(weights[1]).toBe(-2);
  });
});
