/** A config.json of Mellum 2, read and written. */
import { describe, expect, test } from "vitest";
import type { JsonObject } from "../../io/files/json.ts";
import { mainRope } from "../rope_layers.ts";
import type { ModelSpec } from "../spec.ts";
import { readConfig } from "./config.ts";
import { writeConfig } from "./form.ts";

const CONFIG = {
  ...{ model_type: "mellum", hidden_size: 16, intermediate_size: 10, num_hidden_layers: 3, vocab_size: 16 },
  ...{ num_attention_heads: 4, num_key_value_heads: 2, head_dim: 4, sliding_window: 8 },
  ...{ num_local_experts: 4, num_experts_per_tok: 2, moe_intermediate_size: 3 },
};
const TYPES = ["sliding_attention", "full_attention", "sliding_attention"];
const read = (config: JsonObject): ModelSpec => readConfig(config, "config.json");

describe("a Mellum 2", () => {
  test("has experts in all layers, no windows, and otherwise the values of the class, where the file is silent", () => {
    const { layers, qkNorm, tiedEmbeddings, maxPositions } = read(CONFIG);
    expect({ qkNorm, tiedEmbeddings, maxPositions }).toEqual({
      ...{ qkNorm: "head", tiedEmbeddings: false, maxPositions: 131_072 },
    });
    const experts = { count: 4, active: 2, normalised: true };
    const rope = { theta: 500_000, rotaryDim: 4, scaling: null };
    const layer = { neurons: 12, window: null, experts, rope, biases: [] };
    expect(layers).toMatchObject([layer, layer, layer]);
    // Not a key of the class.
    expect(read({ ...CONFIG, use_sliding_window: true }).layers).toEqual(layers);
    const { num_local_experts: _, num_experts_per_tok: __, moe_intermediate_size: ___, ...silent } = CONFIG;
    expect(read(silent).layers[0]).toMatchObject({
      ...{ neurons: 64 * 896, experts: { count: 64, active: 8, normalised: true } },
    });
  });

  test("has windows, with a rotation of their own, and dense layers where lists say so", () => {
    const { layers } = read({
      ...CONFIG,
      layer_types: TYPES,
      mlp_layer_types: ["sparse", "dense", "sparse"],
    });
    expect(layers.map(({ window, rope, neurons }) => [window, rope?.theta, neurons])).toEqual([
      [8, 10_000, 12],
      [null, 500_000, 10],
      [8, 10_000, 12],
    ]);
    expect(() => read({ ...CONFIG, layer_types: TYPES.slice(1) })).toThrow("layer_types with an entry");
    expect(() => read({ ...CONFIG, mlp_layer_types: ["dense"] })).toThrow("mlp_layer_types");
  });

  test.each<[string, JsonObject]>([
    ["usual values", {}],
    ["windows and dense layers", { layer_types: TYPES, mlp_layer_types: ["dense", "sparse", "dense"] }],
    ["biases and numbers as they are", { attention_bias: true, norm_topk_prob: false }],
    [
      "YaRN in layers without windows",
      {
        layer_types: TYPES,
        rope_parameters: {
          full_attention: {
            ...{ rope_type: "yarn", rope_theta: 700, factor: 4, original_max_position_embeddings: 32_768 },
          },
          sliding_attention: { rope_type: "default", rope_theta: 70 },
        },
      },
    ],
  ])("comes back as it is written, with %s", (_, changes) => {
    const spec = read({ ...CONFIG, ...changes });
    const written = writeConfig(spec, "float32");
    expect(written.model_type).toBe("mellum");
    expect(written.rope_scaling).toBeUndefined();
    expect(written.rope_parameters).toMatchObject({ full_attention: { rope_theta: mainRope(spec)?.theta } });
    expect(read(written)).toEqual(spec);
  });
});
