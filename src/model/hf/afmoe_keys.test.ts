/** Keys of AFMoE's class, read and written. */
import { describe, expect, test } from "vitest";
import type { JsonObject } from "../../io/files/json.ts";
import type { ModelSpec } from "../spec.ts";
import { readConfig } from "./config.ts";
import { configText } from "./config_writer.ts";
import { writeConfig } from "./form.ts";

const CONFIG = {
  ...{ model_type: "afmoe", hidden_size: 8, intermediate_size: 12, num_hidden_layers: 5, vocab_size: 16 },
  ...{ num_attention_heads: 4, num_key_value_heads: 2, head_dim: 4, sliding_window: 8 },
  ...{ num_experts: 4, num_experts_per_tok: 2, moe_intermediate_size: 3 },
};
const read = (config: JsonObject): ModelSpec => readConfig(config, "config.json");

describe("an AFMoE", () => {
  test("has experts in all layers but the first, and otherwise the values of the class", () => {
    const { layers, gatedAttention, norms, qkNorm, embeddingScale, normEps } = read(CONFIG);
    expect({ gatedAttention, norms, qkNorm, embeddingScale, normEps }).toEqual({
      ...{ gatedAttention: "gate_proj", norms: "around", qkNorm: "head", embeddingScale: 1, normEps: 1e-5 },
    });
    const scores = { normalised: true, sigmoid: true, corrected: true, divisor: { plus: 1e-20 } };
    const experts = { count: 4, active: 2, ...scores, shared: 6, sharedUngated: true };
    expect(layers.map((layer) => layer.experts)).toEqual([undefined, ...Array(4).fill(experts)]);
    expect(layers.map(({ neurons }) => neurons)).toEqual([12, 12, 12, 12, 12]);
    const { num_experts: _, num_experts_per_tok: __, moe_intermediate_size: ___, ...silent } = CONFIG;
    const usual = { ...experts, count: 64, active: 6, shared: 2816 };
    expect(read({ ...silent, num_key_value_heads: null }).layers[1]).toMatchObject({
      ...{ kvGroups: 4, neurons: 64 * 1408, experts: usual },
    });
  });

  test("has windows, and rotation, in all layers but every fourth, every other n-th, or those of a list", () => {
    const kinds = (config: JsonObject): readonly unknown[] =>
      read(config).layers.map(({ window, rope }) => [window, rope !== null]);
    const [windowed, full] = [
      [8, true],
      [null, false],
    ];
    expect(kinds(CONFIG)).toEqual([windowed, windowed, windowed, full, windowed]);
    const second = [windowed, full, windowed, full, windowed];
    expect(kinds({ ...CONFIG, global_attn_every_n_layers: 2 })).toEqual(second);
    // Not a key of the class.
    expect(kinds({ ...CONFIG, sliding_window_pattern: 2 })).toEqual(kinds(CONFIG));
    const types = ["full_attention", ...Array(4).fill("sliding_attention")];
    expect(kinds({ ...CONFIG, layer_types: types })).toEqual([full, windowed, windowed, windowed, windowed]);
    expect(() => read({ ...CONFIG, sliding_window: null })).toThrow("expected a length as sliding_window");
  });

  test("has embeddings that are scaled if the file says so", () => {
    expect(read({ ...CONFIG, mup_enabled: true }).embeddingScale).toBe(Math.sqrt(8));
    expect(read({ ...CONFIG, mup_enabled: null }).embeddingScale).toBe(1);
    expect(() => read({ ...CONFIG, mup_enabled: 1 })).toThrow(
      expect.objectContaining({ code: "BAD_CONFIG" }),
    );
  });

  test.each<[string, JsonObject]>([
    ["usual values", {}],
    [
      "a factor, scaled embeddings and one shared expert",
      { route_scale: 2.826, mup_enabled: true, num_shared_experts: 1 },
    ],
    ["no shared expert", { num_shared_experts: 0 }],
    ["no experts", { num_dense_layers: 5 }],
    ["biases", { attention_bias: true }],
    ["layers without windows alone", { layer_types: Array(5).fill("full_attention") }],
  ])("comes back as it is written, with %s", (_, changes) => {
    const spec = read({ ...CONFIG, ...changes });
    const written = writeConfig(spec, "float32");
    expect(written.model_type).toBe("afmoe");
    expect(written).toMatchObject({ score_func: "sigmoid", route_norm: true, n_group: 1, topk_group: 1 });
    expect(read(written)).toEqual(spec);
  });

  test("is written with whole factors as floats, for which the class asks", () => {
    expect(configText(writeConfig(read({ ...CONFIG, route_scale: 2 }), "float32"))).toContain(
      '"route_scale": 2.0,',
    );
  });

  test.each([{ score_func: "softmax" }, { route_norm: false }, { n_group: 2 }, { topk_group: 2 }])(
    "is refused with %o, which its class in transformers ignores and in vLLM does not",
    (other) => {
      expect(() => read({ ...CONFIG, ...other })).toThrow(expect.objectContaining({ code: "UNSUPPORTED" }));
    },
  );
});
