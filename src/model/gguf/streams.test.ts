import { describe, expect, test } from "vitest";
import {
  type BuiltTensor,
  type BuiltValue,
  f32s,
  floatTensor,
  u32,
  withFile,
} from "../../../test/gguf_builder.ts";
import { type Case, fileOf } from "../../../test/gguf_layouts.ts";
import { CASES } from "../../../test/gguf_models.ts";
import type { Model } from "../model.ts";
import { openGgufModel } from "./model.ts";

const GEMMA3N: Case = CASES.gemma3n!;
const LAYERS = 25;

/** The model of a file with other values under some keys. */
async function opened(
  changes: Readonly<Record<string, BuiltValue>>,
  tensors: readonly BuiltTensor[] = [],
): Promise<Model> {
  const extra = new Map(GEMMA3N.extra);
  for (const [name, value] of Object.entries(changes)) extra.set(`gemma3n.${name}`, value);
  return withFile(await fileOf({ ...GEMMA3N, extra: [...extra], tensors }), async (path) => {
    const model = await openGgufModel(path);
    await model.weights.close();
    return model;
  });
}

describe("a file with streams", () => {
  test("may cut other gates than llama.cpp takes for granted", async () => {
    const scales = [0.5, ...Array<number>(LAYERS - 1).fill(Number.NEGATIVE_INFINITY)];
    const { spec } = await opened({ activation_sparsity_scale: f32s(scales) });
    expect(spec.layers[0]!.gateCut).toBeCloseTo(0.6914625, 7);
    expect(spec.layers[1]).not.toHaveProperty("gateCut");
  });

  test("leaves keys and values aside that it has of layers that take those of others", async () => {
    const names = ["blk.20.attn_k.weight", "blk.20.attn_v.weight", "blk.20.attn_k_norm.weight"];
    const unused = names.map((name) => floatTensor(name, [1], Float32Array.of(1)));
    expect((await opened({}, unused)).unusedTensors).toEqual(names);
  });

  test.each<[string, Readonly<Record<string, BuiltValue>>, string]>([
    ["another number of streams", { "altup.num_inputs": u32(3) }, "altup.num_inputs: expected 4, got 3"],
    [
      "gates that are all cut",
      { activation_sparsity_scale: f32s(Array<number>(LAYERS).fill(Number.POSITIVE_INFINITY)) },
      "activation_sparsity_scale: expected gates that are not all cut, got Infinity",
    ],
    ["cuts of some layers alone", { activation_sparsity_scale: f32s([1.6]) }, "activation_sparsity_scale"],
    [
      "layers that take keys and values of another kind",
      { "attention.shared_kv_layers": u32(4) },
      "attention.shared_kv_layers: expected layer",
    ],
  ])("is refused with %s", async (_, changes, message) => {
    await expect(opened(changes)).rejects.toThrow(message);
  });
});
