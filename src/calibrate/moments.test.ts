import { afterAll, describe, expect, test } from "vitest";
import { layerValues } from "../../test/layer_values.ts";
import { inMemory, momentsOver } from "../../test/moments.ts";
import { maxDifference, relativeDifference } from "../../test/numbers.ts";
import { randomWindows } from "../../test/random_windows.ts";
import { randomTensor, type TinyModelOptions, tinyModel } from "../../test/tiny_model.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { PROJECTIONS } from "../model/projections.ts";
import { channelCount, type Space, spacesOf } from "../model/spaces.ts";
import { loaded, StoredFloats } from "../tensor/stash.ts";
import { gatherSymmetric } from "../tensor/symmetric.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type CalibrationState, calibrate, measureActivations, type WeightedTokenSet } from "./calibrate.ts";
import { measuredSets } from "./measured_sets.ts";
import { MomentSums, type Moments, momentFeeds } from "./moments.ts";
import { CHANNEL_SUMS } from "./stats.ts";

const runtime = new Runtime({ threads: 1 });
afterAll(() => runtime.close());

const models: readonly (readonly [string, TinyModelOptions])[] = [
  ["Llama", {}],
  ["an odd number of neurons, and one", { layers: [{ neurons: 5 }, { neurons: 1 }] }],
  ["biases and a window", { layers: [{ biases: PROJECTIONS, window: 3, groupSize: 3 }] }],
  ["experts", { layers: [{ neurons: 12, experts: { count: 3, active: 2, normalised: true } }, {}] }],
  [
    "norms after blocks and on heads",
    { qkNorm: "head", norms: "around", normOffset: 1, activation: "gelu_tanh" },
  ],
];

/** Covariances of a space, [n, n], of one of its parts after another, and its means. */
async function found(
  moments: Moments,
  { id, parts }: Space,
  channels: number,
): Promise<{
  readonly covariance: readonly number[];
  readonly mean: Float64Array;
  readonly squares: Float64Array;
}> {
  const { covariance, mean, squares } = moments.get(id)!;
  const all = Int32Array.from({ length: channels / parts }, (_, j) => j);
  const { data } = await loaded(covariance);
  const each = Array.from({ length: parts }, (_, part) => {
    const triangle = data.subarray((part * data.length) / parts, ((part + 1) * data.length) / parts);
    return [...gatherSymmetric(triangle, all, all)];
  });
  return { covariance: each.flat(), mean, squares };
}

/** Inverse root mean square of every token, with mean 1; 0 for one that is zero. */
function importanceOf(stream: readonly (readonly number[])[]): readonly number[] {
  const inverse = stream.map((row) => {
    const square = row.reduce((sum, value) => sum + value ** 2, 0) / row.length;
    return square === 0 ? 0 : 1 / Math.sqrt(square);
  });
  const mean = inverse.reduce((sum, value) => sum + value, 0) / inverse.length;
  return inverse.map((value) => (mean === 0 ? 0 : value / mean));
}

describe.each(models)("moments of a layer, %s", (_, options) => {
  test.each([
    ["no token", 0],
    ["the first token", 1],
    ["every token", 10],
  ] as const)("weigh tokens by their size in the stream, %s zero", async (_zero, zeros) => {
    const model = tinyModel(options);
    const runner = new DecoderRunner(model, runtime);
    const random = randomTensor([2, 5, 8], { name: "hidden" });
    const hidden: Tensor = { ...random, data: random.data.map((value, i) => (i < 8 * zeros ? 0 : value)) };
    for (const [index] of model.spec.layers.entries()) {
      const layer = await runner.loadLayer(index);
      const spaces = spacesOf(model.spec).filter((space) => space.layer === index);
      const feeds = Object.assign(
        {},
        ...spaces.map((space) => momentFeeds(space.kind, channelCount(space), space.parts)),
      );
      const outputs = await runner.runLayer("statisticsAndMoments", layer, { hidden, feeds });
      const alone = await runner.runLayer("moments", layer, { hidden, feeds });
      expect(outputs).toMatchObject(alone);
      const values = await layerValues(runtime, model, { layer, hidden });
      for (const space of spaces) {
        const channels = channelCount(space);
        const sums = new MomentSums(space.kind, channels, space.parts);
        sums.add(outputs, 1 / 10);
        const { inputs: x, stream } = values[space.kind];
        const w = importanceOf(stream);
        const mean = (f: (token: number) => number): number =>
          w.reduce((sum, own, t) => sum + (own * f(t)) / 10, 0);
        const each = Array.from({ length: channels }, (_, j) => j);
        const means = each.map((j) => mean((t) => x[t]![j]!));
        const squares = each.map((j) => mean((t) => x[t]![j]! ** 2));
        const partOf = (j: number): number => Math.floor((j * space.parts) / channels);
        const covariance = each.flatMap((i) =>
          each
            .filter((j) => partOf(j) === partOf(i))
            .map((j) => mean((t) => x[t]![i]! * x[t]![j]!) - means[i]! * means[j]!),
        );
        const own = await found(new Map([[space.id, sums.finish()]]), space, channels);
        expect(maxDifference(own.mean, means)).toBeLessThan(1e-5);
        expect(maxDifference(own.squares, squares)).toBeLessThan(1e-5);
        expect(maxDifference(own.covariance, covariance)).toBeLessThan(1e-5);
      }
    }
  });
});

describe("one pass", () => {
  const model = tinyModel({ layers: [{ neurons: 9 }, { kvGroups: 3 }] });
  const windows = randomWindows([8, 8, 8, 8, 8, 6, 6], { seed: 3 });
  const sets: readonly WeightedTokenSet[] = [
    { name: "a", weight: 3, windows },
    { name: "b", weight: 1, windows: randomWindows([5, 5], { seed: 4 }) },
  ];
  const runner = new DecoderRunner(model, runtime);

  test.each([2, 5, 7])(
    "has the statistics and the moments that two have, statistics of %i windows",
    async (known) => {
      const some = [{ name: "a", windows: windows.slice(0, known) }];
      const { stats, moments } = await measureActivations(runner, measuredSets(some, sets));
      expect(await inMemory(moments)).toEqual(await inMemory(await momentsOver(model, runtime, sets)));
      const halves = ["a/1", "a/2"].map((name, half) => {
        return { name, windows: some[0]!.windows.filter((_, place) => place % 2 === half) };
      });
      const alone = await calibrate(runner, halves);
      expect([...stats.keys()]).toEqual([...alone.keys()]);
      for (const [name, { spaces, ...counts }] of alone) {
        const own = stats.get(name)!;
        expect(own).toMatchObject(counts);
        for (const [id, sums] of spaces) {
          for (const key of CHANNEL_SUMS)
            expect(relativeDifference(own.spaces.get(id)![key], sums[key]), `${id} ${key}`).toBeLessThan(
              1e-6,
            );
        }
      }
    },
  );

  test("has moments of fewer windows than it has statistics of", async () => {
    const few = [{ ...sets[0]!, windows: windows.slice(0, 3) }, sets[1]!];
    const { moments } = await measureActivations(runner, measuredSets(sets, few));
    expect(await inMemory(moments)).toEqual(await inMemory(await momentsOver(model, runtime, few)));
  });

  test("weighs sets by their weights and not by their sizes", async () => {
    const [a, b] = await Promise.all(sets.map((set) => momentsOver(model, runtime, [set])));
    const both = await momentsOver(model, runtime, sets);
    for (const { id } of spacesOf(model.spec)) {
      const expected = a!.get(id)!.squares.map((square, j) => (3 * square + b!.get(id)!.squares[j]!) / 4);
      expect(maxDifference(both.get(id)!.squares, expected)).toBeLessThan(1e-6);
    }
  });

  test("goes on after a layer as if nothing had happened", async () => {
    const measured = measuredSets(sets.slice(0, 1), sets);
    let between: CalibrationState | undefined;
    const reached = async (state: () => CalibrationState): Promise<void> => {
      const { moments, hidden, ...rest } = state();
      // Even tensors in memory now are read one by one when the pass is resumed, perhaps with less memory.
      expect(hidden.every(({ data }) => data instanceof StoredFloats)).toBe(true);
      const read = await Promise.all(hidden.map(loaded));
      between = { ...structuredClone({ ...rest, hidden: read }), moments: await inMemory(moments) };
      throw new Error("cut off");
    };
    const restore = async (): Promise<undefined> => undefined;
    await expect(measureActivations(runner, measured, { checkpoints: { restore, reached } })).rejects.toThrow(
      "cut off",
    );
    const checkpoints = { restore: async () => between, reached: async () => {} };
    const [found, expected] = [
      await measureActivations(runner, measured, { checkpoints }),
      await measureActivations(runner, measured),
    ];
    expect(found.stats).toEqual(expected.stats);
    expect(await inMemory(found.moments)).toEqual(await inMemory(expected.moments));
  });

  test("refuses sets that nothing can be fitted on", () => {
    const fitted = (change: Partial<WeightedTokenSet>): unknown =>
      measuredSets([], [{ ...sets[0]!, ...change }]);
    expect(() => fitted({ windows: [] })).toThrow("calibration set a: expected at least one token, got 0");
    expect(() => fitted({ weight: 0 })).toThrow(
      "weight of calibration set a: expected a positive number, got 0",
    );
  });
});
