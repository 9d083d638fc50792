import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { layerValues } from "../../test/layer_values.ts";
import { momentsOver } from "../../test/moments.ts";
import { plansFor, tensorsOf, tinyOptions } from "../../test/plans.ts";
import { randomWindows } from "../../test/random_windows.ts";
import { randomTensor, type TinyModelOptions, tinyModel } from "../../test/tiny_model.ts";
import { silent } from "../base/progress.ts";
import { calibrate, type WeightedTokenSet } from "../calibrate/calibrate.ts";
import { poolStats } from "../calibrate/stats.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { embedWindows, forwardLayers } from "../graph/decoder/forward.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import type { Model } from "../model/model.ts";
import { PROJECTIONS } from "../model/projections.ts";
import { spacesOf } from "../model/spaces.ts";
import { projectionName } from "../model/weight_names.ts";
import { weightsOf } from "../model/weights.ts";
import { keepAll, makePlan, type PruningPlan } from "../prune/plan.ts";
import { applyPlan } from "../prune/surgery.ts";
import { type Tensor, zeros } from "../tensor/tensor.ts";
import { type LeastSquaresRequest, refitLeastSquares } from "./least_squares.ts";
import { compensateMeans } from "./mean_compensation.ts";
import { withTensors } from "./with_tensors.ts";

const runtime = new Runtime({ threads: 1 });
afterAll(() => runtime.close());

/** Two sets whose sizes and weights differ. */
const sets: readonly WeightedTokenSet[] = [
  { name: "a", weight: 3, windows: randomWindows([24, 24, 24, 24, 24], { seed: 1 }) },
  {
    name: "b",
    weight: 1,
    windows: [...randomWindows([24, 24], { seed: 2 }), ...randomWindows([9], { seed: 3 })],
  },
];

/** The model refitted on all sets. */
async function refit(
  dense: Model,
  plan: PruningPlan,
  options: Partial<LeastSquaresRequest> = {},
): Promise<Model> {
  const moments = await momentsOver(dense, runtime, sets);
  return refitLeastSquares({ dense, plan, runtime, moments, ...options });
}

/** Hidden states after the last layer, for windows that no fit saw. */
async function outputsOf(model: Model): Promise<Float32Array> {
  const runner = new DecoderRunner(model, runtime);
  const [batch] = await embedWindows(runner, randomWindows([24, 24, 24, 24], { seed: 9 }));
  await forwardLayers(runner, [batch!], { stage: "test", onProgress: silent });
  return batch!.hidden.data;
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);
}

function meanSquare(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, value, i) => sum + (value - b[i]!) ** 2, 0) / a.length;
}

const everything: fc.Arbitrary<TinyModelOptions> = fc
  .tuple(
    tinyOptions,
    fc.record({ norms: fc.constantFrom("before", "around", "after"), normOffset: fc.constantFrom(0, 1) }),
  )
  .map(([options, switches]) => ({
    ...options,
    ...switches,
    layers: options.layers!.map((layer, i) => ({ ...layer, window: i % 2 === 0 ? null : 4 })),
  }));

describe("refitLeastSquares", () => {
  test("leaves an unpruned model as it is", async () => {
    await fc.assert(
      fc.asyncProperty(everything, async (options) => {
        const dense = tinyModel(options);
        const untouched = await refit(dense, keepAll(dense.spec));
        expect(untouched.spec).toEqual(dense.spec);
        expect(await tensorsOf(untouched)).toEqual(await tensorsOf(dense));
      }),
      { numRuns: 15 },
    );
  });

  test("changes nothing but output projections, and has every tensor of its spec", async () => {
    const cases = everything
      .map(tinyModel)
      .chain((model) => plansFor(model.spec).map((plan) => ({ dense: model, plan })));
    await fc.assert(
      fc.asyncProperty(cases, async ({ dense, plan }) => {
        const pruned = applyPlan(dense, plan);
        const refitted = await refit(dense, plan);
        for (const { name, shape } of weightsOf(refitted.spec)) {
          expect((await refitted.weights.read(name)).shape).toEqual(shape);
        }
        const before = await tensorsOf(pruned);
        for (const [name, tensor] of await tensorsOf(refitted)) {
          if (!/(o|down)_proj\.(weight|bias)$/.test(name)) expect(tensor).toEqual(before.get(name));
        }
      }),
      { numRuns: 15 },
    );
  });

  test.each([{ biases: [] }, { biases: PROJECTIONS }])(
    "recovers duplicate units exactly, $biases",
    async ({ biases }) => {
      const layer = { neurons: 6, kvGroups: 2, groupSize: 2, biases };
      const dense = await withDuplicates(tinyModel({ layers: [layer, layer], qkNorm: "head", seed: 3 }));
      const plan = makePlan(dense.spec, {
        "layers.0.kv": [0],
        "layers.0.ffn": [0, 1, 2, 3, 4],
        "layers.1.kv": [1],
        "layers.1.ffn": [1, 2, 3, 4, 5],
      });
      const pruned = applyPlan(dense, plan);
      const refitted = await refit(dense, plan, { ridge: 1e-6 });
      const expected = await outputsOf(dense);
      expect(largestDifference(await outputsOf(pruned), expected)).toBeGreaterThan(0.1);
      expect(largestDifference(await outputsOf(refitted), expected)).toBeLessThan(2e-3);
    },
  );

  test.each([
    ["", {}, {}],
    [
      " with a bias each and sinks",
      { biases: ["gate_proj", "up_proj", "down_proj"] },
      { attentionSinks: true, activation: "clamped_swiglu" },
    ],
  ] as const)("recovers duplicate neurons of every expert%s exactly", async (_, own, switches) => {
    const experts = { count: 2, active: 2, normalised: true };
    const layer = { neurons: 6, kvGroups: 2, experts, ...own };
    const dense = await withDuplicates(tinyModel({ layers: [layer, layer], seed: 3, ...switches }));
    const plan = makePlan(dense.spec, { "layers.0.ffn": [0, 1, 3, 4], "layers.1.ffn": [1, 2, 4, 5] });
    const refitted = await refit(dense, plan, { ridge: 1e-6 });
    const expected = await outputsOf(dense);
    expect(largestDifference(await outputsOf(applyPlan(dense, plan)), expected)).toBeGreaterThan(0.05);
    expect(largestDifference(await outputsOf(refitted), expected)).toBeLessThan(2e-3);
  });

  test.each(["kv", "ffn"] as const)(
    "with a huge ridge compensates weighted means alone: %s",
    async (kind) => {
      const projection = kind === "kv" ? "o_proj" : "down_proj";
      const dense = tinyModel({ layers: [{}, { biases: [projection] }], seed: 5 });
      const plan = makePlan(dense.spec, { [`layers.1.${kind}`]: [1] });
      const refitted = await refit(dense, plan, { ridge: 1e12 });
      const pruned = applyPlan(dense, plan);
      expect(refitted.spec).toEqual(pruned.spec);
      const samples = await samplesOf(dense, kind);
      const [weight, bias] = await Promise.all(
        (["weight", "bias"] as const).map((part) => dense.weights.read(projectionName(1, projection, part))),
      );
      const { removed } = channelsOf(dense, plan, kind);
      const expected = bias!.data.map((value, c) => {
        const lost = removed.map((j) => {
          const mean = samples.reduce((sum, { x, tokenWeight }) => sum + tokenWeight * x[j]!, 0);
          return weight!.data[c * weight!.shape[1]! + j]! * mean;
        });
        return lost.reduce((sum, part) => sum + part, value);
      });
      const after = await tensorsOf(refitted);
      const name = projectionName(1, projection, "bias");
      expect(largestDifference(after.get(name)!.data, expected)).toBeLessThan(1e-5);
      for (const [other, { data }] of await tensorsOf(pruned)) {
        if (other !== name) expect(largestDifference(after.get(other)!.data, data)).toBeLessThan(1e-6);
      }
    },
  );

  const kinds = ["kv", "ffn", "kv without biases", "ffn without biases"] as const;
  test.each(kinds)("finds a stationary point of the objective: %s", async (what) => {
    const kind = what.startsWith("kv") ? "kv" : "ffn";
    const addsBiases = what === kind;
    const dense = tinyModel({ layers: [{ biases: ["down_proj"] }, {}], seed: 7 });
    const plan = makePlan(dense.spec, { "layers.0.ffn": [0, 2, 5], [`layers.1.${kind}`]: [1] });
    const ridge = 0.05;
    const refitted = await refit(dense, plan, { ridge, addsBiases });
    const objective = await objectiveOf({ dense, plan, refitted, kind, ridge });
    const smallest = objective(0, 0);
    expect(smallest).toBeGreaterThan(0);
    for (let direction = 1; direction <= 8; direction++) {
      const [up, down] = [objective(1e-2, direction), objective(-1e-2, direction)];
      expect(up).toBeGreaterThan(smallest);
      expect(Math.abs(up - down)).toBeLessThan(0.01 * (up + down - 2 * smallest));
    }
  });

  test("adds no biases if so asked, and refits those that are there", async () => {
    const dense = tinyModel({ layers: [{ biases: ["down_proj"] }, {}], seed: 4 });
    const plan = makePlan(dense.spec, { "layers.0.ffn": [0, 1, 2], "layers.1.ffn": [3], "layers.1.kv": [0] });
    const refitted = await refit(dense, plan, { addsBiases: false });
    expect(refitted.spec).toEqual(applyPlan(dense, plan).spec);
    const name = projectionName(0, "down_proj", "bias");
    expect(await refitted.weights.read(name)).not.toEqual(await dense.weights.read(name));
  });

  test("adds none to experts, and leaves those that they have", async () => {
    const experts = { count: 2, active: 1, normalised: true };
    const dense = tinyModel({ layers: [{ experts }, { experts, biases: ["down_proj"] }] });
    const plan = makePlan(dense.spec, { "layers.0.ffn": [0, 3], "layers.1.ffn": [1, 4], "layers.1.kv": [0] });
    const { spec, weights } = await refit(dense, plan);
    expect(spec.layers.map(({ biases }) => biases)).toEqual([[], ["o_proj", "down_proj"]]);
    expect(weights.info(projectionName(0, "down_proj", "bias"))).toBeUndefined();
    const name = projectionName(1, "down_proj", "bias");
    expect(await weights.read(name)).toEqual(await dense.weights.read(name));
  });

  test.each([11, 12, 13])("comes closer to the dense model than mean compensation, seed %i", async (seed) => {
    const layers = [{ neurons: 24 }, { neurons: 24 }, { neurons: 24 }];
    const dense = tinyModel({ layers, seed });
    const keep = Array.from({ length: 12 }, (_, i) => 2 * i);
    const plan = makePlan(
      dense.spec,
      Object.fromEntries(layers.map((_, i) => [`layers.${i}.ffn`, keep] as const)),
    );
    const stats = await calibrate(new DecoderRunner(dense, runtime), sets);
    const compensated = await compensateMeans(dense, plan, poolStats([...stats.values()], [3, 1]));
    const refitted = await refit(dense, plan);
    const expected = await outputsOf(dense);
    const before = meanSquare(await outputsOf(compensated), expected);
    expect(meanSquare(await outputsOf(refitted), expected)).toBeLessThan(before);
  });

  test.each([0, 1000])("means stand in where the units that stay are always %d", async (constant) => {
    // gelu and silu of a gate without weights are constants, times a constant of up.
    const layer = { biases: ["gate_proj", "up_proj", "down_proj"] } as const;
    const model = tinyModel({ layers: [layer, layer], seed: 2 });
    const tensors = new Map<string, Tensor>();
    for (const [projection, value] of [
      ["gate_proj", constant],
      ["up_proj", 1 + 1e-3],
    ] as const) {
      const [weight, bias] = [projectionName(1, projection), projectionName(1, projection, "bias")];
      const { shape, data } = await model.weights.read(weight);
      tensors.set(weight, { shape, data: data.map((each, i) => (i < 4 * 8 ? 0 : each)) });
      tensors.set(bias, { shape: [6], data: Float32Array.of(value, value, value, value, 0.1, 0.2) });
    }
    const dense = withTensors(model, tensors);
    const plan = makePlan(dense.spec, { "layers.1.ffn": [0, 1, 2, 3] });
    const refitted = await refit(dense, plan);
    const expected = await outputsOf(dense);
    const lost = meanSquare(await outputsOf(applyPlan(dense, plan)), expected);
    expect(meanSquare(await outputsOf(refitted), expected)).toBeLessThan(lost);
  });

  test("reports progress up to the end", async () => {
    const dense = tinyModel({ layers: Array.from({ length: 7 }, () => ({ neurons: 8 })) });
    const events: number[] = [];
    const onProgress = ({ done, total }: { done: number; total: number }) => events.push(done / total);
    await refit(dense, keepAll(dense.spec), { onProgress });
    expect(events).toEqual([...events].sort((a, b) => a - b));
    expect(events.at(-1)).toBe(1);
  });

  test.each([
    ["a ridge of zero", { ridge: 0 }],
    ["a ridge that is no number", { ridge: Number.NaN }],
  ])("refuses %s", async (_, change) => {
    const dense = tinyModel();
    const plan = keepAll(dense.spec);
    const refused = refit(dense, plan, change);
    await expect(refused).rejects.toMatchObject({ code: "BAD_ARGUMENT" });
  });

  test.each([
    ["none", new Map(), 0],
    ["a narrower model's", new Map([["layers.0.ffn", { channels: 3 }]]), 3],
  ] as const)("refuses moments that are not the model's, %s", async (_, given, got) => {
    const dense = tinyModel();
    const moments = new Map(
      Array.from(given, ([id, { channels }]) => {
        const covariance = { shape: [6], data: new Float32Array(6) };
        return [id, { mean: new Float64Array(channels), squares: new Float64Array(channels), covariance }];
      }),
    );
    const plan = makePlan(dense.spec, { "layers.0.ffn": [0, 1] });
    await expect(refitLeastSquares({ dense, plan, runtime, moments })).rejects.toMatchObject({
      code: "BAD_ARGUMENT",
      message: `moments of layers.0.ffn: expected 6 channels, got ${got}`,
    });
  });

  test("names the projection whose moments are not finite", async () => {
    const model = tinyModel();
    // The layer's output is finite; the squares of down_proj's inputs are not, in float32.
    const scaled = new Map<string, Tensor>();
    for (const [projection, factor] of [
      ["up_proj", 1e20],
      ["down_proj", 1e-20],
    ] as const) {
      const name = projectionName(1, projection);
      const { shape, data } = await model.weights.read(name);
      scaled.set(name, { shape, data: data.map((value) => value * factor) });
    }
    const dense = withTensors(model, scaled);
    const plan = makePlan(dense.spec, { "layers.1.ffn": [0, 1] });
    await expect(refit(dense, plan)).rejects.toMatchObject({
      code: "NOT_FINITE",
      message: expect.stringContaining("model.layers.1.mlp.down_proj.weight"),
    });
  });
});

/** The model with its last unit of every space made a copy of the first, as far as the inputs of the unit go. */
async function withDuplicates(model: Model): Promise<Model> {
  const copies = new Map<string, Tensor>();
  for (const { name, axes } of weightsOf(model.spec)) {
    if (axes[0]!.space === null) continue;
    const { shape, data } = await model.weights.read(name);
    const unit = (data.length / shape[0]!) * axes[0]!.blockSize;
    const { parts } = spacesOf(model.spec).find(({ id }) => id === axes[0]!.space)!;
    const part = data.length / parts;
    const copy = data.slice();
    for (let start = 0; start < data.length; start += part)
      copy.set(data.subarray(start, start + unit), start + part - unit);
    copies.set(name, { shape, data: copy });
  }
  return withTensors(model, copies);
}

interface Problem {
  readonly dense: Model;
  readonly plan: PruningPlan;
  readonly refitted: Model;
  readonly kind: "kv" | "ffn";
  readonly ridge: number;
}

/**
 * The objective of layer 1, evaluated token by token in plain loops, as a function of a step along a random direction
 * from the refitted weights.
 */
async function objectiveOf(problem: Problem): Promise<(step: number, direction: number) => number> {
  const { dense, plan, refitted, kind, ridge } = problem;
  const projection = kind === "kv" ? "o_proj" : "down_proj";
  const name = projectionName(1, projection);
  const start = await applyPlan(dense, plan).weights.read(name);
  const { data: weight } = await refitted.weights.read(name);
  const hasBias = refitted.spec.layers[1]!.biases.includes(projection);
  const biasName = projectionName(1, projection, "bias");
  const { data: bias } = hasBias ? await refitted.weights.read(biasName) : zeros([dense.spec.hiddenSize]);
  const { kept } = channelsOf(dense, plan, kind);
  const samples = (await samplesOf(dense, kind)).map(({ x, ...sample }) => {
    return { ...sample, x: kept.map((j) => x[j]!) };
  });
  const mean = (f: (x: readonly number[]) => number): number =>
    samples.reduce((sum, { x, tokenWeight }) => sum + tokenWeight * f(x), 0);
  const variances = kept.map((_, j) => {
    const centre = hasBias ? mean((x) => x[j]!) : 0;
    return mean((x) => (x[j]! - centre) ** 2);
  });
  const channels = kept.length;
  const lambda = (ridge * variances.reduce((sum, v) => sum + v, 0)) / channels;
  return (step, direction) => {
    const along = randomTensor([weight.length + bias.length], { name: `direction ${direction}` }).data;
    const w = Float64Array.from(weight, (value, i) => value + step * along[i]!);
    const stepped = (value: number, i: number): number => value + step * along[weight.length + i]!;
    const b = hasBias ? Float64Array.from(bias, stepped) : bias;
    const penalty = w.reduce((sum, value, i) => sum + (value - start.data[i]!) ** 2, 0);
    const error = samples.reduce((sum, { x, y, tokenWeight }) => {
      const squares = y.map((value, c) => {
        const output = x.reduce((dot, xj, j) => dot + w[c * channels + j]! * xj, b[c]!);
        return (output - value) ** 2;
      });
      return sum + tokenWeight * squares.reduce((total, square) => total + square, 0);
    }, 0);
    return error + lambda * penalty;
  };
}

/** Channels at the input of layer 1's output projection. */
function channelsOf(
  { spec }: Model,
  { keep }: PruningPlan,
  kind: "kv" | "ffn",
): { readonly kept: readonly number[]; readonly removed: readonly number[] } {
  const { groupSize, kvGroups, neurons } = spec.layers[1]!;
  const unit = kind === "kv" ? groupSize * spec.headDim : 1;
  const all = Array.from({ length: unit * (kind === "kv" ? kvGroups : neurons) }, (_, j) => j);
  const isKept = (j: number): boolean => keep[`layers.1.${kind}`]!.includes(Math.floor(j / unit));
  return { kept: all.filter(isKept), removed: all.filter((j) => !isKept(j)) };
}

interface Sample {
  /** Input of the dense projection. */
  readonly x: readonly number[];
  /** Its output. */
  readonly y: readonly number[];
  readonly tokenWeight: number;
}

/** Input and output of layer 1's output projection at every token, in the dense model. */
async function samplesOf(dense: Model, kind: "kv" | "ffn"): Promise<readonly Sample[]> {
  const total = sets.reduce((sum, { weight }) => sum + weight, 0);
  const samples: Sample[] = [];
  for (const set of sets) {
    const tokens = set.windows.reduce((sum, window) => sum + window.length, 0);
    for (const length of new Set(set.windows.map((window) => window.length))) {
      const together = set.windows.filter((window) => window.length === length);
      const found: (Omit<Sample, "tokenWeight"> & { readonly inverse: number })[] = [];
      for (const window of together) found.push(...(await tokensOf(dense, window, kind)));
      const mean = found.reduce((sum, { inverse }) => sum + inverse, 0) / found.length;
      for (const { inverse, ...sample } of found) {
        samples.push({ ...sample, tokenWeight: (set.weight / total / tokens) * (inverse / mean) });
      }
    }
  }
  return samples;
}

/** The same for one window, with the inverse root mean square of the stream after the block. */
async function tokensOf(
  dense: Model,
  window: Int32Array,
  kind: "kv" | "ffn",
): Promise<readonly (Omit<Sample, "tokenWeight"> & { readonly inverse: number })[]> {
  const runner = new DecoderRunner(dense, runtime);
  const embedded = await runner.embed(window, [1, window.length]);
  const first = await runner.runLayer("forward", await runner.loadLayer(0), { hidden: embedded });
  const layer = await runner.loadLayer(1);
  const values = await layerValues(runtime, dense, { layer, hidden: first.hidden! });
  const { inputs, projected, stream } = values[kind];
  return inputs.map((x, t) => {
    const square = stream[t]!.reduce((sum, value) => sum + value ** 2, 0) / 8;
    return { x, y: projected[t]!, inverse: 1 / Math.sqrt(square) };
  });
}
