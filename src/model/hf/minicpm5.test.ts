/** A config.json of MiniCPM 5 with experts, read and written. */
import { describe, expect, test } from "vitest";
import type { JsonObject } from "../../io/files/json.ts";
import type { ModelSpec } from "../spec.ts";
import { readConfig } from "./config.ts";
import { writeConfig } from "./form.ts";

const CONFIG = {
  ...{
    model_type: "minicpm5_moe",
    hidden_size: 16,
    intermediate_size: 10,
    num_hidden_layers: 3,
    vocab_size: 16,
  },
  ...{ num_attention_heads: 4, num_key_value_heads: 2, head_dim: 8 },
  ...{ n_routed_experts: 4, num_experts_per_tok: 2, moe_intermediate_size: 3 },
};
const read = (config: JsonObject): ModelSpec => readConfig(config, "config.json");
const neurons = ({ layers }: ModelSpec): number[] => layers.map((layer) => layer.neurons);

describe("a MiniCPM 5 with experts", () => {
  test("has one dense layer, and otherwise the values of the class, where the file is silent", () => {
    const spec = read(CONFIG);
    expect(spec).toMatchObject({
      gatedAttention: "q_proj",
      qkNorm: null,
      tiedEmbeddings: false,
      normEps: 1e-6,
    });
    expect(neurons(spec)).toEqual([10, 12, 12]);
    const experts = {
      count: 4,
      active: 2,
      normalised: true,
      sigmoid: true,
      corrected: true,
      scale: 3.66,
      shared: 3,
    };
    expect(spec.layers[1]).toMatchObject({
      experts,
      rope: { theta: 5_000_000, rotaryDim: 8, scaling: null },
    });
    const { n_routed_experts: _, num_experts_per_tok: __, moe_intermediate_size: ___, ...silent } = CONFIG;
    expect(read(silent).layers[1]).toMatchObject({ neurons: 160 * 512, experts: { count: 160, active: 16 } });
  });

  test("has experts where a list, or a number of dense layers, says so", () => {
    expect(neurons(read({ ...CONFIG, first_k_dense_replace: 2 }))).toEqual([10, 10, 12]);
    const mlp_layer_types = ["sparse", "dense", "sparse"];
    expect(neurons(read({ ...CONFIG, first_k_dense_replace: 2, mlp_layer_types }))).toEqual([12, 10, 12]);
  });

  test("is refused without gates", () => {
    expect(() => read({ ...CONFIG, use_gated_attention: false })).toThrow(
      "use_gated_attention true, got false",
    );
  });

  test.each<[string, JsonObject]>([
    ["usual values", {}],
    ["biases and numbers as they are", { attention_bias: true, norm_topk_prob: false }],
    ["groups of experts", { n_group: 2, topk_group: 1, mlp_layer_types: ["sparse", "dense", "sparse"] }],
  ])("comes back as it is written, with %s", (_, changes) => {
    const spec = read({ ...CONFIG, ...changes });
    const written = writeConfig(spec, "float32");
    expect(written.model_type).toBe("minicpm5_moe");
    expect(read(written)).toEqual(spec);
  });
});
