import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { plansFor, tensorsOf, tinyOptions } from "../../test/plans.ts";
import { randomTensor, type TinyModelOptions, tinyModel } from "../../test/tiny_model.ts";
import { calibrate } from "../calibrate/calibrate.ts";
import { poolStats } from "../calibrate/stats.ts";
import { DecoderRunner } from "../graph/decoder_runner.ts";
import { embedWindows, forwardLayers } from "../graph/forward.ts";
import { Runtime } from "../graph/runtime.ts";
import type { Model } from "../model/model.ts";
import { projectionName, weightsOf } from "../model/spaces.ts";
import { PROJECTIONS } from "../model/spec.ts";
import { silent } from "../progress.ts";
import { keepAll, makePlan } from "../prune/plan.ts";
import { applyPlan } from "../prune/surgery.ts";
import { randomStream } from "../tensor/random.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { refitLeastSquares, type WeightedTokenSet } from "./least_squares.ts";
import { compensateMeans } from "./mean_compensation.ts";
import { withTensors } from "./with_tensors.ts";

const runtime = new Runtime({ threads: 1 });
afterAll(() => runtime.close());

/** Random windows of the tiny models' 16 tokens. */
function randomWindows(count: number, tokens: number, seed = 0): readonly Int32Array[] {
  const next = randomStream(seed, "windows");
  return Array.from({ length: count }, () =>
    Int32Array.from({ length: tokens }, () => Math.floor(next() * 16)),
  );
}

/** Two sets whose sizes and weights differ. */
const sets: readonly WeightedTokenSet[] = [
  { name: "a", weight: 3, windows: randomWindows(5, 24, 1) },
  { name: "b", weight: 1, windows: [...randomWindows(2, 24, 2), ...randomWindows(1, 9, 3)] },
];

/** Hidden states after the last layer, for windows that no fit saw. */
async function outputsOf(model: Model): Promise<Float32Array> {
  const runner = new DecoderRunner(model, runtime);
  const [batch] = await embedWindows(runner, randomWindows(4, 24, 9));
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
  .tuple(tinyOptions, fc.record({ postNorms: fc.boolean(), normOffset: fc.constantFrom(0, 1) }))
  .map(([options, switches]) => ({
    ...options,
    ...switches,
    layers: options.layers!.map((layer, i) => ({ ...layer, window: i % 2 === 0 ? null : 4 })),
  }));

describe("refitLeastSquares", () => {
  it("leaves an unpruned model as it is, up to rounding", async () => {
    await fc.assert(
      fc.asyncProperty(everything, async (options) => {
        const dense = tinyModel(options);
        const pruned = applyPlan(dense, keepAll(dense.spec));
        const untouched = await refitLeastSquares({ dense, pruned, runtime, sets });
        expect(untouched.spec).toEqual(dense.spec);
        const refitted = await refitLeastSquares({ dense, pruned, runtime, sets, refitIntact: true });
        const before = await tensorsOf(dense);
        for (const [name, { data }] of await tensorsOf(refitted)) {
          const expected = before.get(name)?.data ?? new Float32Array(data.length);
          expect(largestDifference(data, expected)).toBeLessThan(2e-3);
        }
        const [a, b] = [await outputsOf(refitted), await outputsOf(dense)];
        expect(largestDifference(a, b)).toBeLessThan(1e-3);
      }),
      { numRuns: 15 },
    );
  });

  it("changes nothing but output projections, and has every tensor of its spec", async () => {
    const cases = everything
      .map(tinyModel)
      .chain((model) => plansFor(model.spec).map((plan) => ({ dense: model, plan })));
    await fc.assert(
      fc.asyncProperty(cases, async ({ dense, plan }) => {
        const pruned = applyPlan(dense, plan);
        const refitted = await refitLeastSquares({ dense, pruned, runtime, sets });
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

  it.each([{ biases: [] }, { biases: PROJECTIONS }])(
    "recovers duplicate units exactly, $biases",
    async ({ biases }) => {
      const layer = { neurons: 6, kvGroups: 2, groupSize: 2, biases };
      const dense = await withDuplicates(tinyModel({ layers: [layer, layer], qkNorm: true, seed: 3 }));
      const plan = makePlan(dense.spec, {
        "layers.0.kv": [0],
        "layers.0.ffn": [0, 1, 2, 3, 4],
        "layers.1.kv": [1],
        "layers.1.ffn": [1, 2, 3, 4, 5],
      });
      const pruned = applyPlan(dense, plan);
      const refitted = await refitLeastSquares({ dense, pruned, runtime, sets, ridge: 1e-6 });
      const expected = await outputsOf(dense);
      expect(largestDifference(await outputsOf(pruned), expected)).toBeGreaterThan(0.1);
      expect(largestDifference(await outputsOf(refitted), expected)).toBeLessThan(2e-3);
    },
  );

  it.each(["layers.0.kv", "layers.0.ffn"])("is mean compensation with a huge ridge, %s", async (space) => {
    const layers = [{ biases: ["o_proj"] as const }, {}];
    const dense = tinyModel({ layers, seed: 5 });
    const plan = makePlan(dense.spec, { [space]: [1] });
    const stats = await calibrate(new DecoderRunner(dense, runtime), sets);
    const pooled = poolStats(
      [...stats.values()],
      sets.map(({ weight }) => weight),
    );
    const compensated = await compensateMeans(dense, plan, pooled);
    const request = { dense, pruned: applyPlan(dense, plan), runtime, sets, ridge: 1e12, relative: false };
    const refitted = await refitLeastSquares(request);
    expect(refitted.spec).toEqual(compensated.spec);
    const expected = await tensorsOf(compensated);
    for (const [name, { data }] of await tensorsOf(refitted)) {
      expect(largestDifference(data, expected.get(name)!.data)).toBeLessThan(1e-6);
    }
  });

  it.each(["kv", "ffn"] as const)("stands where the objective is flat: %s", async (kind) => {
    const dense = tinyModel({ layers: [{ biases: ["down_proj"] }, {}], seed: 7 });
    const plan = makePlan(dense.spec, { "layers.0.ffn": [0, 2, 5], [`layers.1.${kind}`]: [1] });
    const pruned = applyPlan(dense, plan);
    const ridge = 0.05;
    const refitted = await refitLeastSquares({ dense, pruned, runtime, sets, ridge, relative: false });
    const objective = await objectiveOf({ dense, pruned, refitted, kind, ridge });
    const smallest = objective(0, 0);
    expect(smallest).toBeGreaterThan(0);
    for (let direction = 1; direction <= 8; direction++) {
      const [up, down] = [objective(1e-2, direction), objective(-1e-2, direction)];
      expect(up).toBeGreaterThan(smallest);
      expect(Math.abs(up - down)).toBeLessThan(0.01 * (up + down - 2 * smallest));
    }
  });

  it.each([11, 12, 13])("comes closer to the dense model than mean compensation, seed %i", async (seed) => {
    const layers = [{ neurons: 24 }, { neurons: 24 }, { neurons: 24 }];
    const dense = tinyModel({ layers, seed });
    const keep = Array.from({ length: 12 }, (_, i) => 2 * i);
    const plan = makePlan(
      dense.spec,
      Object.fromEntries(layers.map((_, i) => [`layers.${i}.ffn`, keep] as const)),
    );
    const stats = await calibrate(new DecoderRunner(dense, runtime), sets);
    const compensated = await compensateMeans(dense, plan, poolStats([...stats.values()], [3, 1]));
    const refitted = await refitLeastSquares({ dense, pruned: applyPlan(dense, plan), runtime, sets });
    const expected = await outputsOf(dense);
    const before = meanSquare(await outputsOf(compensated), expected);
    expect(meanSquare(await outputsOf(refitted), expected)).toBeLessThan(before);
  });

  it("weighs tokens by the inverse of their size in the stream, at the same mean weight", async () => {
    const dense = tinyModel({ layers: [{ neurons: 12 }], seed: 2 });
    const pruned = applyPlan(dense, makePlan(dense.spec, { "layers.0.ffn": [0, 3, 6, 9] }));
    const name = projectionName(0, "down_proj", "bias");
    const biasOf = async (relative: boolean): Promise<Float32Array> => {
      const refitted = await refitLeastSquares({
        dense,
        pruned,
        runtime,
        sets,
        ridge: 1e12,
        relative,
      });
      return (await refitted.weights.read(name)).data;
    };
    const [plain, weighted] = [await biasOf(false), await biasOf(true)];
    expect(largestDifference(plain, weighted)).toBeGreaterThan(1e-4);
    expect(largestDifference(plain, weighted)).toBeLessThan(0.5 * Math.max(...plain.map(Math.abs)) + 0.1);
  });

  it("reports progress up to the end", async () => {
    const dense = tinyModel();
    const events: number[] = [];
    const onProgress = ({ done, total }: { done: number; total: number }) => events.push(done / total);
    await refitLeastSquares({ dense, pruned: dense, runtime, sets, onProgress });
    expect(events).toEqual([...events].sort((a, b) => a - b));
    expect(events.at(-1)).toBeCloseTo(1, 10);
  });

  it.each([
    ["a ridge of zero", { ridge: 0 }],
    ["a ridge that is no number", { ridge: Number.NaN }],
    ["no sets", { sets: [] }],
    ["an empty set", { sets: [{ name: "a", weight: 1, windows: [] }] }],
    ["a set without weight", { sets: [{ ...sets[0]!, weight: 0 }] }],
  ])("refuses %s", async (_, change) => {
    const dense = tinyModel();
    const refused = refitLeastSquares({ dense, pruned: dense, runtime, sets, ...change });
    await expect(refused).rejects.toMatchObject({ code: "BAD_ARGUMENT" });
  });

  it("names the projection whose moments are not finite", async () => {
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
    const pruned = applyPlan(dense, makePlan(dense.spec, { "layers.1.ffn": [0, 1] }));
    await expect(refitLeastSquares({ dense, pruned, runtime, sets })).rejects.toMatchObject({
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
    const copy = data.slice();
    copy.set(data.subarray(0, unit), data.length - unit);
    copies.set(name, { shape, data: copy });
  }
  return withTensors(model, copies);
}

interface Problem {
  readonly dense: Model;
  readonly pruned: Model;
  readonly refitted: Model;
  readonly kind: "kv" | "ffn";
  readonly ridge: number;
}

/**
 * The objective of layer 1, evaluated token by token in plain loops, as a function of a step along a random direction
 * from the refitted weights. The input of the projection is read off by feeding identity-like projections.
 */
async function objectiveOf(problem: Problem): Promise<(step: number, direction: number) => number> {
  const { pruned, refitted, kind, ridge } = problem;
  const projection = kind === "kv" ? "o_proj" : "down_proj";
  const name = projectionName(1, projection);
  const start = await pruned.weights.read(name);
  const { data: weight } = await refitted.weights.read(name);
  const { data: bias } = await refitted.weights.read(projectionName(1, projection, "bias"));
  const samples = await samplesOf(problem);
  const channels = start.shape[1]!;
  const mean = (f: (x: Float64Array) => number): number =>
    samples.reduce((sum, { x, tokenWeight }) => sum + tokenWeight * f(x), 0);
  const variances = Array.from({ length: channels }, (_, j) => {
    const centre = mean((x) => x[j]!);
    return mean((x) => (x[j]! - centre) ** 2);
  });
  const lambda = (ridge * variances.reduce((sum, v) => sum + v, 0)) / channels;
  return (step, direction) => {
    const along = randomTensor([weight.length + bias.length], { name: `direction ${direction}` }).data;
    const w = Float64Array.from(weight, (value, i) => value + step * along[i]!);
    const b = Float64Array.from(bias, (value, i) => value + step * along[weight.length + i]!);
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

interface Sample {
  /** Input of the pruned projection. */
  readonly x: Float64Array;
  /** Target. */
  readonly y: Float64Array;
  readonly tokenWeight: number;
}

/** Input and target of layer 1's projection at every token. */
async function samplesOf({ dense, refitted, kind }: Problem): Promise<readonly Sample[]> {
  const total = sets.reduce((sum, { weight }) => sum + weight, 0);
  const program = kind === "kv" ? "attention" : "ffn";
  const samples: Sample[] = [];
  for (const set of sets) {
    const tokens = set.windows.reduce((sum, window) => sum + window.length, 0);
    for (const window of set.windows) {
      const wanted = await blockOf(dense, window, kind);
      const { spec } = await new DecoderRunner(refitted, runtime).loadLayer(1);
      const target = await wanted.runner.runLayer(program, wanted.layer, { hidden: wanted.hidden });
      const columns: Float32Array[] = [];
      const channels = kind === "kv" ? spec.kvGroups * 2 * 4 : spec.neurons;
      for (let j = 0; j < channels; j++) {
        const probed = await blockOf(await probing(refitted, kind, j), window, kind);
        const { projected } = await probed.runner.runLayer(program, probed.layer, { hidden: wanted.hidden });
        columns.push(projected!.data);
      }
      for (let t = 0; t < window.length; t++) {
        const y = Float64Array.from({ length: 8 }, (_, c) => {
          return target.projected!.data[t * 8 + c]!;
        });
        const x = Float64Array.from(columns, (column) => column[t * 8]!);
        samples.push({ x, y, tokenWeight: set.weight / total / tokens });
      }
    }
  }
  return samples;
}

/** The stream before one block of layer 1. */
async function blockOf(
  model: Model,
  window: Int32Array,
  kind: "kv" | "ffn",
): Promise<{
  runner: DecoderRunner;
  layer: Awaited<ReturnType<DecoderRunner["loadLayer"]>>;
  hidden: Tensor;
}> {
  const runner = new DecoderRunner(model, runtime);
  const embedded = await runner.embed(window, [1, window.length]);
  const first = await runner.runLayer("forward", await runner.loadLayer(0), { hidden: embedded });
  const layer = await runner.loadLayer(1);
  if (kind === "kv") return { runner, layer, hidden: first.hidden! };
  const { hidden } = await runner.runLayer("attention", layer, { hidden: first.hidden! });
  return { runner, layer, hidden: hidden! };
}

/** The model whose layer 1 puts channel `j` of the projection's input out as channel 0. */
async function probing(model: Model, kind: "kv" | "ffn", j: number): Promise<Model> {
  const projection = kind === "kv" ? "o_proj" : "down_proj";
  const name = projectionName(1, projection);
  const { shape, data } = await model.weights.read(name);
  const weight = new Float32Array(data.length);
  weight[j] = 1;
  const bias = { shape: [shape[0]!], data: new Float32Array(shape[0]!) };
  return withTensors(
    model,
    new Map([
      [name, { shape, data: weight }],
      [projectionName(1, projection, "bias"), bias],
    ]),
  );
}
