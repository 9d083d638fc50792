import { describe, expect, test } from "vitest";
import {
  type BuiltTensor,
  type BuiltValue,
  f32,
  floatTensor,
  u32,
  withFile,
} from "../../../test/gguf_builder.ts";
import { type Case, fileOf } from "../../../test/gguf_layouts.ts";
import { CASES } from "../../../test/gguf_models.ts";
import type { Model } from "../model.ts";
import { weightsOf } from "../weights.ts";
import { openGgufModel } from "./model.ts";

const GEMMA4: Case = CASES.gemma4!;

/** The model of a file of Gemma 4 with other values under some keys, without those that are undefined. */
async function opened(
  changes: Readonly<Record<string, BuiltValue | undefined>>,
  tensors: readonly BuiltTensor[] = GEMMA4.tensors ?? [],
): Promise<Model> {
  const entries = new Map(GEMMA4.extra);
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) entries.delete(`gemma4.${name}`);
    else entries.set(`gemma4.${name}`, value);
  }
  return withFile(await fileOf({ ...GEMMA4, extra: [...entries], tensors }), async (path) => {
    const model = await openGgufModel(path);
    await model.weights.close();
    return model;
  });
}

const factors = (values: readonly number[]): readonly BuiltTensor[] => [
  floatTensor("rope_freqs.weight", [values.length], Float32Array.from(values)),
];

describe("layers of two kinds", () => {
  test("may divide positions besides", async () => {
    const { spec } = await opened({ "rope.scaling.factor": f32(8) });
    const scalings = spec.layers.map(({ rope }) => rope?.scaling);
    const proportional = { type: "proportional", pairs: 1, factor: 8 };
    expect(scalings).toEqual([null, null, proportional, null, proportional]);
  });

  test.each<[string, readonly number[], number | undefined]>([
    ["all", [1, 1, 1], undefined],
    ["two", [1, 1, 1e30], 2],
  ])("turn the pairs of channels that the factors say: %s", async (_, values, pairs) => {
    const { layers } = (await opened({}, factors(values))).spec;
    const scaling = pairs === undefined ? null : { type: "proportional", pairs, factor: 1 };
    expect(layers[2]!.rope?.scaling).toEqual(scaling);
    expect(layers[1]!.rope?.scaling).toBeNull();
  });

  test("cap logits at 30 where the file has no key, and not at all where it says 0", async () => {
    expect((await opened({ final_logit_softcapping: undefined })).spec.logitSoftcap).toBe(30);
    expect((await opened({ final_logit_softcapping: f32(0) })).spec.logitSoftcap).toBeNull();
  });

  test("leave keys and values aside that a file has of layers that take those of others", async () => {
    const names = ["blk.3.attn_k.weight", "blk.3.attn_v.weight", "blk.3.attn_k_norm.weight"];
    const unused = names.map((name) => floatTensor(name, [1], Float32Array.of(1)));
    const { spec, weights, unusedTensors } = await opened({}, [...GEMMA4.tensors!, ...unused]);
    expect(unusedTensors).toEqual(names);
    expect(weights.names).toEqual(weightsOf(spec).map(({ name }) => name));
  });

  const shared = "attention.shared_kv_layers";
  test.each<[string, Readonly<Record<string, BuiltValue | undefined>>, string]>([
    [
      "a pattern",
      { "attention.sliding_window_pattern": undefined },
      "expected a flag for each layer, got none",
    ],
    ["the size of inputs", { embedding_length_per_layer_input: undefined }, "per_layer_input"],
    [
      "values as wide as keys",
      { "attention.value_length_swa": u32(2) },
      "attention.value_length_swa: expected 4, the key length, got 2",
    ],
    [
      "rotation within heads",
      { "rope.dimension_count_swa": u32(6) },
      "rope.dimension_count_swa: expected an even number up to 4, got 6",
    ],
    [
      "keys and values of a layer of the same kind",
      { [shared]: u32(1) },
      "attention.shared_kv_layers: expected layer 4 to take keys and values from one with the same window and",
    ],
    ["layers with some of their own", { [shared]: u32(5) }, "got layer -2"],
    ["layers to share them", { [shared]: u32(6) }, "expected layer 0 to take keys and values"],
  ])("need %s", async (_, changes, message) => {
    await expect(opened(changes)).rejects.toThrow(message);
  });

  test.each<[string, readonly number[]]>([
    ["of other scalings", [1, 2, 4]],
    ["of no turning pair", [1e30, 1e30, 1e30]],
    ["of turning pairs behind others", [1, 1e30, 1]],
    ["of too few pairs", [1, 1]],
  ])("refuse factors %s", async (_, values) => {
    await expect(opened({}, factors(values))).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message: expect.stringContaining("rope_freqs.weight: expected factors of pairs that turn or do not"),
    });
  });

  test("need a table where there are inputs", async () => {
    const example = CASES["gemma4 whose keys are values"]!;
    const entries = new Map(example.extra).set("gemma4.embedding_length_per_layer_input", u32(3));
    await withFile(await fileOf({ ...example, extra: [...entries] }), async (path) => {
      await expect(openGgufModel(path)).rejects.toMatchObject({
        code: "BAD_FILE",
        message: expect.stringContaining(
          "per_layer_token_embd.weight: expected a matrix, got no such tensor",
        ),
      });
    });
  });
});
