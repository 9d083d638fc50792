import { afterAll, describe, expect, test } from "vitest";
import { maxDifference } from "../../test/numbers.ts";
import { tensorsOf } from "../../test/plans.ts";
import { randomWindows } from "../../test/random_windows.ts";
import { referenceDecoder } from "../../test/reference_decoder.ts";
import { randomTensor, tinyModel } from "../../test/tiny_model.ts";
import { TINY_VARIANTS } from "../../test/tiny_variants.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { microBatches } from "../graph/decoder/forward.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import type { Model } from "../model/model.ts";
import { OUTPUT_PROJECTION, type Space, spacesOf } from "../model/spaces.ts";
import { withBiases } from "../model/spec.ts";
import { projectionName } from "../model/weight_names.ts";
import { memorySource } from "../tensor/memory.ts";
import { type Tensor, zeros } from "../tensor/tensor.ts";
import { changeNames, slopeStatistics, windowSlopes } from "./slopes.ts";

const runtime = new Runtime({ threads: 1 });
afterAll(() => runtime.close());

function withWeights(model: Model, tensors: ReadonlyMap<string, Tensor>): Model {
  return { ...model, weights: memorySource(tensors) };
}

/** A tiny model whose output projections have biases, and its tensors. */
async function biased(options: Parameters<typeof tinyModel>[0]) {
  const { layers } = tinyModel(options).spec;
  const model = tinyModel({
    ...options,
    layers: layers.map((layer) => withBiases(layer, ["o_proj", "down_proj"])),
  });
  return { model, tensors: await tensorsOf(model) };
}

/** Two changes of every space but those of one layer, of three channels in each part; experts have no centres. */
function changesFor({ spec }: Model, without?: number): Map<string, Tensor> {
  const size = spec.hiddenSize;
  return new Map(
    spacesOf(spec)
      .filter(({ layer }) => layer !== without)
      .flatMap((space) => {
        const { inputs, outputs, centres } = changeNames(space);
        const { parts } = space;
        const channels = (space.units * space.unitChannels) / parts;
        const centre = [2, parts, 1, 3];
        return [
          [inputs, randomTensor([2, parts, 3, channels], { name: inputs })],
          [outputs, randomTensor([2, parts, size, 3], { name: outputs })],
          [centres, parts > 1 ? zeros(centre) : randomTensor(centre, { name: centres })],
        ] as const;
      }),
  );
}

/** The tensors of the model after a step of size `by` along a change. */
function moved(
  tensors: ReadonlyMap<string, Tensor>,
  changes: ReadonlyMap<string, Tensor>,
  { space, change, by }: { space: Space; change: number; by: number },
): Map<string, Tensor> {
  const projection = OUTPUT_PROJECTION[space.kind];
  const names = changeNames(space);
  const [inputs, outputs, centres] = [names.inputs, names.outputs, names.centres].map((name) => {
    const { shape, data } = changes.get(name)!;
    const size = data.length / shape[0]!;
    return data.subarray(change * size, (change + 1) * size);
  }) as [Float32Array, Float32Array, Float32Array];
  const channels = space.units * space.unitChannels;
  const ofPart = channels / space.parts;
  const size = outputs.length / (3 * space.parts);
  const result = new Map(tensors);
  const put = (name: string, changeAt: (i: number) => number): void => {
    const { shape, data } = tensors.get(name)!;
    result.set(name, { shape, data: data.map((value, i) => value + by * changeAt(i)) });
  };
  const sum = ({ part, row }: { part: number; row: number }, other: (r: number) => number): number =>
    [0, 1, 2].reduce((total, r) => total + outputs[(part * size + row) * 3 + r]! * other(r), 0);
  put(projectionName(space.layer, projection), (i) => {
    const [row, part] = [Math.floor(i / channels), Math.floor((i % channels) / ofPart)];
    return sum({ part, row }, (r) => inputs[(part * 3 + r) * ofPart + (i % ofPart)]!);
  });
  const bias = projectionName(space.layer, projection, "bias");
  if (tensors.has(bias)) put(bias, (row) => sum({ part: 0, row }, (r) => -centres[r]!));
  return result;
}

describe("slopeStatistics", () => {
  test.each(Object.entries(TINY_VARIANTS))(
    "equals central differences of the naive decoder: %s",
    async (_, options) => {
      const { model, tensors } = await biased(options);
      const changes = changesFor(model);
      const windows = randomWindows([7, 7, 4], { seed: 5 });
      const runner = new DecoderRunner(withWeights(model, new Map([...tensors, ...changes])), runtime);
      const stats = await slopeStatistics({ runner, dense: model }, [{ name: "text", windows }]);
      const { loss, spaces } = stats.get("text")!;
      const lossOf = async (own: ReadonlyMap<string, Tensor>): Promise<number> => {
        const reference = await referenceDecoder(withWeights(model, own));
        return windows.reduce((sum, window) => sum + reference(window).loss, 0);
      };
      expect(loss).toBeCloseTo(await lossOf(tensors), 4);
      const step = 1e-3;
      for (const space of spacesOf(model.spec).filter(({ id }) => spaces.has(id))) {
        const expected: number[] = [];
        for (const change of [0, 1]) {
          const up = await lossOf(moved(tensors, changes, { space, change, by: step }));
          const down = await lossOf(moved(tensors, changes, { space, change, by: -step }));
          expected.push((up - down) / (2 * step));
        }
        expect(maxDifference(spaces.get(space.id)!.sums, expected), space.id).toBeLessThan(2e-3);
      }
    },
  );

  test("measures only what has changes, and windows of a set as they are by themselves", async () => {
    const { model, tensors } = await biased({});
    const changes = changesFor(model, 0);
    const runner = new DecoderRunner(withWeights(model, new Map([...tensors, ...changes])), runtime);
    const windows = randomWindows([6, 6, 9]);
    const together = (await slopeStatistics({ runner, dense: model }, [{ name: "text", windows }])).get(
      "text",
    )!;
    expect([...together.spaces.keys()].sort()).toEqual(["layers.1.ffn", "layers.1.kv"]);
    expect(together.windows).toBe(3);
    const alone = [...(await windowSlopes({ runner, dense: model }, microBatches(windows)))];
    for (const [index, window] of windows.entries()) {
      const [own] = await windowSlopes({ runner, dense: model }, microBatches([window]));
      const [batched, single] = [alone[index]!, own!].map(({ neurons }) => neurons.get("layers.1.ffn")!);
      expect(maxDifference(batched!, single!)).toBeLessThan(1e-5 * Math.max(...single!));
    }
    expect([...together.neurons.keys()]).toEqual(["layers.1.ffn"]);
    for (const [unit, value] of together.neurons.get("layers.1.ffn")!.entries()) {
      const sum = alone.reduce((total, { neurons }) => total + neurons.get("layers.1.ffn")![unit]!, 0);
      expect(value).toBeCloseTo(sum, 9);
    }
    for (const [id, { sums, squares }] of together.spaces) {
      for (const v of [0, 1]) {
        expect(sums[v]).toBe(alone.reduce((sum, { spaces }) => sum + spaces.get(id)!.sums[v]!, 0));
        expect(squares[v]).toBe(alone.reduce((sum, { spaces }) => sum + spaces.get(id)!.squares[v]!, 0));
        expect(squares[v]! * 3).toBeGreaterThanOrEqual(sums[v]! ** 2 / 3);
      }
    }
  });

  test("takes spaces without changes that have fewer neurons than in the dense model", async () => {
    const experts = { count: 2, active: 1, normalised: false };
    const { model: dense } = await biased({ layers: [{ experts }, {}] });
    const { model, tensors } = await biased({ layers: [{ neurons: 2, experts }, {}] });
    const runner = new DecoderRunner(
      withWeights(model, new Map([...tensors, ...changesFor(model, 0)])),
      runtime,
    );
    const sets = [{ name: "text", windows: randomWindows([6]) }];
    const { spaces, neurons } = (await slopeStatistics({ runner, dense }, sets)).get("text")!;
    expect([...spaces.keys()]).toEqual(["layers.1.kv", "layers.1.ffn"]);
    expect([...neurons.keys()]).toEqual(["layers.1.ffn"]);
  });

  test.each(Object.entries(TINY_VARIANTS))(
    "says of every neuron, present or gone, what a change by its dense column says: %s",
    async (_, options) => {
      const { model, tensors } = await biased(options);
      const spaces = spacesOf(model.spec).filter(({ kind }) => kind === "ffn");
      const present = new Map(tensors);
      const changes = new Map<string, Tensor>();
      const centres = new Map<string, Float32Array>();
      for (const space of spaces) {
        const { id, layer, units, parts } = space;
        const name = projectionName(layer, OUTPUT_PROJECTION.ffn);
        const { shape, data: dense } = tensors.get(name)!;
        const ofPart = units / parts;
        const centre = parts > 1 ? new Float32Array(units) : randomTensor([units], { name: id }).data;
        centres.set(id, centre);
        // Every third neuron is removed.
        present.set(name, { shape, data: dense.map((value, i) => ((i % units) % 3 === 0 ? 0 : value)) });
        const names = changeNames(space);
        const [size = 0] = shape;
        const outputs = zeros([units, parts, size, 1]);
        for (let unit = 0; unit < units; unit++) {
          const start = (unit * parts + Math.floor(unit / ofPart)) * size;
          for (let row = 0; row < size; row++) outputs.data[start + row] = dense[row * units + unit]!;
        }
        changes.set(names.outputs, outputs);
        const chosen = Float32Array.from({ length: units ** 2 }, (__, i) => (i % (units + 1) === 0 ? 1 : 0));
        changes.set(names.inputs, { shape: [units, parts, 1, ofPart], data: chosen });
        changes.set(
          names.centres,
          parts > 1 ? zeros([units, parts, 1, 1]) : { shape: [units, 1, 1, 1], data: centre },
        );
      }
      const runner = new DecoderRunner(withWeights(model, new Map([...present, ...changes])), runtime);
      const windows = randomWindows([9], { seed: 3 });
      const [own] = await windowSlopes({ runner, dense: model }, microBatches(windows), { centres });
      const expected = spaces.map(({ id }) => own!.spaces.get(id)!.squares.map((square) => square / 8));
      const total = expected.reduce((sum, values) => values.reduce((other, value) => other + value, sum), 0);
      for (const [index, { id, layer }] of spaces.entries()) {
        const damped = expected[index]!.map((value) => value / Math.sqrt(total));
        expect(maxDifference(own!.neurons.get(id)!, damped)).toBeLessThan(1e-4 * Math.max(...damped));
        const gone = own!.neurons.get(id)!.filter((_, unit) => unit % 3 === 0);
        // Experts that no token picked have no gradients.
        const least = model.spec.layers[layer]!.experts ? Math.max(...gone) : Math.min(...gone);
        expect(least).toBeGreaterThan(0);
      }
    },
  );
});
