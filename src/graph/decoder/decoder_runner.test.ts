import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { someIds } from "../../../test/layer_feeds.ts";
import { maxDifference, relativeDifference } from "../../../test/numbers.ts";
import { tensorsOf } from "../../../test/plans.ts";
import { randomWindows } from "../../../test/random_windows.ts";
import { referenceDecoder } from "../../../test/reference_decoder.ts";
import { runModel } from "../../../test/run_model.ts";
import { longrope } from "../../../test/scaled_ropes.ts";
import { randomTensor, tinyModel } from "../../../test/tiny_model.ts";
import { TINY_VARIANTS } from "../../../test/tiny_variants.ts";
import { silent } from "../../base/progress.ts";
import { linearAttentionsOf } from "../../model/mixer_layers.ts";
import { linearChannels, stateShape } from "../../model/mixer_spec.ts";
import type { Model } from "../../model/model.ts";
import { attentionLayers } from "../../model/spec.ts";
import { memorySource } from "../../tensor/memory.ts";
import { elementCount, type Tensor, zeros } from "../../tensor/tensor.ts";
import { type Feeds, Runtime } from "../runtime/runtime.ts";
import { DecoderRunner } from "./decoder_runner.ts";
import { embedForests, forwardLayers } from "./forward.ts";
import { PrefixForest } from "./prefix_forest.ts";

let runtime: Runtime;
beforeAll(() => {
  runtime = new Runtime({ threads: 1 });
});
afterAll(() => runtime.close());

describe.each(Object.entries(TINY_VARIANTS))("DecoderRunner, %s", (_, options) => {
  test.each([
    ["short windows", [11, 11, 5]],
    ["a window that attention goes through in blocks", [300]],
  ])("computes what the naive decoder computes on %s", async (_, lengths) => {
    const model = tinyModel(options);
    const windows = randomWindows(lengths);
    const reference = await referenceDecoder(model);
    const expected = windows.map((window) => reference(window));
    const { hidden, logits } = await runModel(new DecoderRunner(model, runtime), windows);
    for (const [layer, values] of hidden.entries()) {
      const rows = expected.flatMap((run) => run.hidden[layer]!).flat();
      expect(relativeDifference(values, rows)).toBeLessThan(1e-5);
    }
    expect(relativeDifference(logits, expected.flatMap((run) => run.logits).flat())).toBeLessThan(1e-5);
  });

  test("computes forests of several sizes as the naive decoder computes their sequences", async () => {
    const model = tinyModel(options);
    const reference = await referenceDecoder(model);
    const sequences = [
      [1, 2, 3, 4, 5, 6, 7],
      [1, 2, 3, 9, 9, 9],
      [8, 2],
      [1, 2, 3, 4, 5, 0],
    ];
    // The first sequence is a forest of its own, which is smaller than the other and so is padded; a delta rule takes
    // one after the other.
    const forests = [new PrefixForest(), new PrefixForest()] as const;
    const paths = sequences.map((ids, index) => ({
      forest: index === 0 ? 0 : 1,
      nodes: forests[index === 0 ? 0 : 1].add(Int32Array.from(ids)),
    }));
    const runner = new DecoderRunner(model, runtime);
    const finished = forests.map((forest) => forest.finish());
    const { batches, places } = await embedForests(runner, finished);
    const sizes =
      linearAttentionsOf(model.spec).length > 0
        ? [
            [1, 7],
            [1, 11],
          ]
        : [[2, 11]];
    expect(batches.map(({ batch, tokens }) => [batch, tokens])).toEqual(sizes);
    await forwardLayers(runner, batches, { stage: "test", onProgress: silent });
    for (const [index, { forest, nodes }] of paths.entries()) {
      const { batch, row } = places[forest]!;
      const { hidden, tokens } = batches[batch]!;
      const computed = [...nodes].flatMap((node) => {
        const start = 8 * (row * tokens + node);
        return [...hidden.data.subarray(start, start + 8)];
      });
      const expected = reference(sequences[index]!).hidden.at(-1)!.flat();
      expect(relativeDifference(computed, expected)).toBeLessThan(1e-5);
    }
  });

  test("pads a long sequence only where it is rotated by the same frequencies then", async () => {
    const tokensOf = async (length: number): Promise<readonly number[]> => {
      const runner = new DecoderRunner(tinyModel({ layers: [{ rope: longrope(length) }] }), runtime);
      const ids = new Int32Array(4097).fill(1);
      const parents = ids.map((_, t) => t - 1);
      const { batches } = await embedForests(runner, [{ ids, parents }]);
      return batches.map(({ tokens }) => tokens);
    };
    expect(await tokensOf(64)).toEqual([5120]);
    expect(await tokensOf(4100)).toEqual([4097]);
  });

  test("continues from a cache as if it had seen everything", async () => {
    const model = tinyModel(options);
    const runner = new DecoderRunner(model, runtime);
    const [attention] = attentionLayers(model.spec);
    const layer = await runner.loadLayer(model.spec.layers.indexOf(attention!));
    const { kvGroups } = layer.spec;
    const { headDim, latent } = runner.model.spec;
    const valueDim = latent?.valueDim ?? headDim;
    const hidden = randomTensor([1, 8, 8], { name: "hidden" });
    const rows = (start: number, end: number): typeof hidden => ({
      shape: [1, end - start, 8],
      data: hidden.data.slice(start * 8, end * 8),
    });
    const ids = someIds(1, 8);
    const whole = await runner.runLayer("forward", layer, { hidden, ids });
    const none = (channels: number): Tensor => zeros([1, kvGroups, 7, channels]);
    const { beside } = layer.spec;
    const noStates: Feeds = beside
      ? {
          past_state: zeros([1, beside.length - 1, linearChannels(beside).filtered]),
          past_recurrent: zeros([1, ...stateShape(beside)]),
        }
      : {};
    // Unused places of a cache must not matter.
    const inRoom = ({ shape, data }: Tensor): Tensor => {
      const [, , tokens = 0, channels = 0] = shape;
      const room = [1, kvGroups, 7, channels];
      const places = new Float32Array(elementCount(room)).fill(9);
      const size = tokens * channels;
      for (let k = 0; k < kvGroups; k++)
        places.set(data.subarray(k * size, (k + 1) * size), k * 7 * channels);
      return { shape: room, data: places };
    };
    const first = await runner.runLayer("cached", layer, {
      hidden: rows(0, 5),
      ids: ids.slice(0, 5),
      feeds: { past_keys: none(headDim), past_values: none(valueDim), ...noStates },
    });
    const second = await runner.runLayer("cached", layer, {
      hidden: rows(5, 8),
      ids: ids.slice(5),
      offset: 5,
      feeds: {
        past_keys: inRoom(first.keys!),
        past_values: inRoom(first.values!),
        ...(beside && { past_state: first.state!, past_recurrent: first.recurrent! }),
      },
    });
    expect(second.keys!.shape).toEqual([1, kvGroups, 3, headDim]);
    expect(second.values!.shape).toEqual([1, kvGroups, 3, valueDim]);
    const joined = [...first.hidden!.data, ...second.hidden!.data];
    const largest = whole.hidden!.data.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    expect(maxDifference(joined, whole.hidden!.data)).toBeLessThan(5e-7 * largest);
  });
});

describe("DecoderRunner", () => {
  test("runs layers of equal structure with one compiled program, whatever their widths", async () => {
    const own = new Runtime({ threads: 1 });
    const keys: string[] = [];
    const program = own.program.bind(own);
    own.program = (key, build) => {
      keys.push(key);
      return program(key, build);
    };
    await runModel(
      new DecoderRunner(tinyModel({ layers: [{ neurons: 2 }, { neurons: 7, kvGroups: 1 }] }), own),
      randomWindows([4]),
    );
    await own.close();
    expect(new Set(keys.filter((key) => key.startsWith("forward"))).size).toBe(1);
  });

  test("reads embeddings in blocks of rows", async () => {
    const model = tinyModel({ vocabSize: 3000, embeddingScale: 2 });
    const table = (await model.weights.read("model.embed_tokens.weight")).data;
    const ids = Int32Array.of(2999, 0, 1023, 1024, 2999, 7);
    const { shape, data } = await new DecoderRunner(model, runtime).embed(ids, [2, 3]);
    expect(shape).toEqual([2, 3, 8]);
    expect([...data]).toEqual(
      [...ids].flatMap((id) => [...table.subarray(8 * id, 8 * id + 8)].map((x) => 2 * x)),
    );
  });

  test("adds learned positions of the tokens' places, whatever the factor on embeddings, and has no others", async () => {
    const model = tinyModel({ embeddingScale: 2, learnedPositions: { offset: 1 }, maxPositions: 4 });
    const runner = new DecoderRunner(model, runtime);
    const table = (await model.weights.read("model.embed_tokens.weight")).data;
    const positions = (await model.weights.read("model.embed_positions.weight")).data;
    expect(positions).toHaveLength(5 * 8);
    const sum = (id: number, position: number): readonly number[] =>
      Array.from({ length: 8 }, (_, c) =>
        Math.fround(2 * table[8 * id + c]! + positions[8 * (position + 1) + c]!),
      );
    const rows = await runner.embed(Int32Array.of(3, 5, 7, 3), [2, 2]);
    expect([...rows.data]).toEqual([sum(3, 0), sum(5, 1), sum(7, 0), sum(3, 1)].flat());
    const places = await runner.embed(Int32Array.of(3, 5), [1, 2], Int32Array.of(3, 0));
    expect([...places.data]).toEqual([sum(3, 3), sum(5, 0)].flat());
    await expect(runner.embed(Int32Array.of(3, 5), [1, 2], Int32Array.of(4, 0))).rejects.toMatchObject({
      code: "BAD_ARGUMENT",
      message: "tokens: expected sequences of at most 4 tokens, as the model has positions, got 5",
    });
  });

  test("names the row of learned positions that is not finite, if it is used", async () => {
    const model = tinyModel({ learnedPositions: { offset: 2 }, maxPositions: 4 });
    const tensors = new Map(await tensorsOf(model));
    const table = tensors.get("model.embed_positions.weight")!;
    const data = table.data.map((x, i) => (i === 8 * 4 + 3 ? Number.NaN : x));
    tensors.set("model.embed_positions.weight", { ...table, data });
    const runner = new DecoderRunner({ ...model, weights: memorySource(tensors) }, runtime);
    await expect(runner.embed(Int32Array.of(1, 2), [1, 2])).resolves.toMatchObject({ shape: [1, 2, 8] });
    await expect(runner.embed(Int32Array.of(1, 2, 3), [1, 3])).rejects.toMatchObject({
      code: "NOT_FINITE",
      message: "model.embed_positions.weight: expected finite weights, got NaN at row 4, column 3",
    });
  });

  test.each([16, -1])("refuses token id %i of a vocabulary of 16", async (id) => {
    const runner = new DecoderRunner(tinyModel(), runtime);
    await expect(runner.embed(Int32Array.of(3, id), [1, 2])).rejects.toMatchObject({
      code: "BAD_TEXT",
      message: `token 1: expected an id below 16, got ${id}`,
    });
  });

  test("refuses to run the head on nothing", async () => {
    const runner = new DecoderRunner(tinyModel(), runtime);
    const hidden = { shape: [0, 8], data: new Float32Array(0) };
    await expect(runner.runHead("logits", await runner.loadHead(), { hidden })).rejects.toMatchObject({
      code: "BAD_ARGUMENT",
      message: "rows: expected a whole number of at least 1, got 0",
    });
  });

  test("refuses a layer that is not there", async () => {
    await expect(new DecoderRunner(tinyModel(), runtime).loadLayer(2)).rejects.toThrow(
      "layer: expected one of 0 to 1, got 2",
    );
  });

  test.each([
    ["model.layers.1.mlp.up_proj.weight", Number.NaN, "forward of layer 1"],
    ["model.layers.0.self_attn.v_proj.weight", Number.POSITIVE_INFINITY, "forward of layer 0"],
    ["model.layers.0.input_layernorm.weight", Number.NEGATIVE_INFINITY, "forward of layer 0"],
    ["model.norm.weight", Number.NaN, "logits of the head"],
  ])("stops at %s with a value of %s and names it", async (name, value, where) => {
    const message = `${name}: expected finite weights, got ${value} at `;
    const runner = new DecoderRunner(await withValue(tinyModel(), name, value), runtime);
    await expect(runModel(runner, randomWindows([4]))).rejects.toMatchObject({
      code: "NOT_FINITE",
      message: expect.stringMatching(new RegExp(`^${message}.*[(]${where}[)]$`)),
    });
  });

  test.each([
    ["up_proj", "row 1, column 2 of expert 2", (4 + 1) * 8 + 2],
    ["down_proj", "row 1, column 1 of expert 2", 1 * 6 + 5],
  ])("names the expert whose %s is not finite", async (projection, place, index) => {
    const experts = { count: 3, active: 3, normalised: true };
    const model = tinyModel({ layers: [{ neurons: 6, experts }] });
    const name = `model.layers.0.mlp.${projection}.weight`;
    const tensors = await tensorsOf(model);
    tensors.get(name)!.data[index] = Number.NaN;
    const runner = new DecoderRunner({ ...model, weights: memorySource(tensors) }, runtime);
    await expect(runModel(runner, randomWindows([4]))).rejects.toMatchObject({
      code: "NOT_FINITE",
      message: `${name}: expected finite weights, got NaN at ${place} (forward of layer 0)`,
    });
  });

  test("reads the matrices of a token's own experts alone", async () => {
    const experts = { count: 5, active: 2, normalised: true };
    const model = tinyModel({ layers: [{ neurons: 15, experts }] });
    const hidden = randomTensor([1, 1, 8], { name: "hidden" });
    const read = await Promise.all(
      Array.from({ length: experts.count }, async (_, expert) => {
        const name = "model.layers.0.mlp.up_proj.weight";
        const tensors = new Map(await tensorsOf(model));
        const { shape, data } = tensors.get(name)!;
        const isOf = (index: number): boolean => Math.floor(index / (3 * 8)) === expert;
        tensors.set(name, { shape, data: data.map((value, index) => (isOf(index) ? Number.NaN : value)) });
        const runner = new DecoderRunner({ ...model, weights: memorySource(tensors) }, runtime);
        const running = runner.runLayer("forward", await runner.loadLayer(0), { hidden });
        return running.then(
          () => false,
          () => true,
        );
      }),
    );
    expect(read.filter(Boolean)).toHaveLength(experts.active);
  });

  test("names the token whose embedding is not finite", async () => {
    const model = await withValue(tinyModel(), "model.embed_tokens.weight", Number.NaN);
    const runner = new DecoderRunner(model, runtime);
    await expect(runner.embed(Int32Array.of(3, 15), [1, 2])).rejects.toMatchObject({
      code: "NOT_FINITE",
      message: expect.stringMatching(
        /^model.embed_tokens.weight: expected finite weights, got NaN at row 15, column 7$/,
      ),
    });
    expect((await runner.embed(Int32Array.of(3, 1), [1, 2])).data.every(Number.isFinite)).toBe(true);
  });

  test("names the layer whose activations grow beyond float32 with finite weights", async () => {
    const runner = new DecoderRunner(
      await withValue(tinyModel(), "model.layers.1.post_attention_layernorm.weight", 3e38),
      runtime,
    );
    await expect(runModel(runner, randomWindows([4]))).rejects.toMatchObject({
      code: "NOT_FINITE",
      message: "forward of layer 1: expected finite activations, got NaN or infinity",
    });
  });

  test("gives the same losses when the head runs in chunks", async () => {
    // 2^23 logits at once: 3 rows of this vocabulary
    const model = tinyModel({ vocabSize: 2 ** 21 + 2 ** 19, hiddenSize: 2, layers: [] });
    const runner = new DecoderRunner(model, runtime);
    const head = await runner.loadHead();
    const hidden = randomTensor([7, 2], { name: "hidden" });
    const targets = { shape: [7, 1], data: Int32Array.from([0, 1, 2, 3, 4, 5, 2 ** 21]) };
    const chunked = await runner.runHead("loss", head, { hidden, targets });
    expect(chunked.nll!.shape).toEqual([7, 1]);
    for (let row = 0; row < 7; row++) {
      const single = await runner.runHead("loss", head, {
        hidden: { shape: [1, 2], data: hidden.data.slice(2 * row, 2 * row + 2) },
        targets: { shape: [1, 1], data: targets.data.slice(row, row + 1) },
      });
      expect(chunked.nll!.data[row]).toBeCloseTo(single.nll!.data[0]!, 5);
    }
  });

  test("hands over every output before the hidden states move on", async () => {
    const runner = new DecoderRunner(tinyModel(), runtime);
    const hidden = randomTensor([1, 3, 8], { name: "hidden" });
    const batch = { ids: new Int32Array(3), batch: 1, tokens: 3, hidden };
    const seen: unknown[] = [];
    const events: number[] = [];
    await forwardLayers(runner, [batch], {
      stage: "test",
      onProgress: ({ done, total }) => events.push(done / total),
      onOutputs: (layer, position, outputs) =>
        seen.push([layer.index, position, outputs.hidden === batch.hidden]),
    });
    expect(seen).toEqual([
      [0, 0, false],
      [1, 0, false],
    ]);
    expect(events).toEqual([0.5, 1]);
  });
});

/** The model with one weight replaced in one place. */
async function withValue(model: Model, name: string, value: number): Promise<Model> {
  const tensors = new Map(await tensorsOf(model));
  const { shape, data } = tensors.get(name)!;
  tensors.set(name, { shape, data: data.with(data.length - 1, value) });
  return { ...model, weights: memorySource(tensors) };
}
