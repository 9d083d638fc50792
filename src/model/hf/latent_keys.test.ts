/** Keys of classes with latent attention, read and written. */
import { describe, expect, test } from "vitest";
import type { JsonObject } from "../../io/files/json.ts";
import type { ModelSpec } from "../spec.ts";
import { readConfig } from "./config.ts";
import { findHfForm, writeConfig } from "./form.ts";

const CONFIG = {
  ...{ hidden_size: 24, intermediate_size: 12, num_hidden_layers: 3, vocab_size: 16, num_attention_heads: 3 },
  ...{ n_routed_experts: 8, num_experts_per_tok: 2, moe_intermediate_size: 4, first_k_dense_replace: 1 },
  ...{ q_lora_rank: 5, kv_lora_rank: 6, qk_rope_head_dim: 4, qk_nope_head_dim: 3, v_head_dim: 2 },
};
const V3 = { ...CONFIG, model_type: "deepseek_v3", n_group: 4, topk_group: 2 };
const V2 = { ...CONFIG, model_type: "deepseek_v2", q_lora_rank: null };
const LITE = { ...CONFIG, model_type: "glm4_moe_lite" };
const YARN = { rope_type: "yarn", rope_theta: 10_000, factor: 4, original_max_position_embeddings: 32 };

const read = (config: JsonObject): ModelSpec => readConfig(config, "config.json");

describe("latent attention", () => {
  test("has heads of two sizes, each with keys and values of its own", () => {
    const { headDim, latent, layers, attentionScale } = read({ ...V3, num_key_value_heads: 1, head_dim: 9 });
    expect({ headDim, latent }).toEqual({
      headDim: 7,
      latent: { queryRank: 5, rank: 6, rotated: 4, valueDim: 2, biases: false },
    });
    expect(layers[0]).toMatchObject({ kvGroups: 3, groupSize: 1, rope: { rotaryDim: 4 }, biases: [] });
    expect(attentionScale).toBe(7 ** -0.5);
    expect(read(V2).latent?.queryRank).toBeNull();
    const biased = read({ ...V3, attention_bias: true });
    expect([biased.latent?.biases, biased.layers[0]?.biases]).toEqual([true, ["o_proj"]]);
  });

  test("has the sizes of the class where the file has none", () => {
    const silent = { ...CONFIG, q_lora_rank: undefined, kv_lora_rank: undefined, v_head_dim: undefined };
    const sizes = { qk_rope_head_dim: undefined, qk_nope_head_dim: undefined };
    const { latent, headDim } = read({ ...silent, ...sizes, model_type: "glm4_moe_lite" });
    expect(latent).toEqual({ queryRank: 768, rank: 512, rotated: 64, valueDim: 256, biases: false });
    expect(headDim).toBe(256);
  });

  test("has channels that turn by the name that counts for the class", () => {
    const rotated = (config: JsonObject): number => read({ ...config, head_dim: 6 }).latent!.rotated;
    expect([rotated(LITE), rotated(V3), rotated(V2)]).toEqual([6, 4, 4]);
    expect(rotated({ ...LITE, qk_rope_head_dim: undefined })).toBe(6);
  });

  test("has scores that YaRN sharpens twice", () => {
    const scaled = { ...V3, rope_parameters: { ...YARN, mscale: 0.5, mscale_all_dim: 2 } };
    const factor = (slope: number): number => 1 + 0.1 * slope * Math.log(4);
    const { attentionScale, layers } = read(scaled);
    expect(attentionScale).toBeCloseTo(7 ** -0.5 * factor(2) ** 2, 12);
    const { scaling } = layers[0]!.rope!;
    expect(scaling).toMatchObject({ allDim: 2, attentionFactor: factor(0.5) / factor(2) });
    const plain = read({ ...V3, rope_parameters: YARN });
    expect(plain.attentionScale).toBe(7 ** -0.5);
    expect(plain.layers[0]!.rope!.scaling).toMatchObject({ attentionFactor: factor(1) });
  });

  test.each<JsonObject>([
    V3,
    { ...V3, attention_bias: true, n_group: 1, topk_group: 1, norm_topk_prob: false },
    { ...V3, rope_scaling: { ...YARN, type: "yarn", mscale: 1, mscale_all_dim: 1 } },
    { ...V3, rope_parameters: { ...YARN, mscale: 0.7, mscale_all_dim: 1.2 } },
    { ...V3, rope_parameters: { ...YARN, attention_factor: 1.5, mscale_all_dim: 1 } },
    V2,
    { ...V2, topk_method: "group_limited_greedy", n_group: 4, topk_group: 2 },
    LITE,
    { ...LITE, mlp_layer_types: ["sparse", "dense", "sparse"] },
  ])("is written for the stock class as %j says", (config) => {
    const spec = read(config);
    const written = writeConfig(spec, "float32");
    expect(read(written)).toEqual(spec);
    expect(findHfForm(spec)).toMatchObject({ remoteCode: false, family: { modelType: config.model_type } });
  });

  test("counts groups in DeepSeek V2 only where the method says so", () => {
    const groups = { n_group: 4, topk_group: 2 };
    const groupsOf = (config: JsonObject): unknown => read(config).layers[1]?.experts?.groups;
    expect(groupsOf({ ...V2, ...groups })).toBeUndefined();
    expect(groupsOf({ ...V2, ...groups, topk_method: "group_limited_greedy" })).toEqual({
      ...{ count: 4, active: 2, best: 1 },
    });
    expect(() => read({ ...V2, topk_method: "noaux_tc" })).toThrow(/topk_method/);
  });

  test.each<[JsonObject, string]>([
    [{ ...V3, rope_interleave: false }, "expected rope_interleave true, got false"],
    [{ ...V3, moe_layer_freq: 2 }, "expected moe_layer_freq 1, got 2"],
    [{ ...V2, norm_topk_prob: true }, "expected norm_topk_prob false, got true"],
    [{ ...V2, mlp_bias: true }, "expected mlp_bias false, got true"],
  ])("is refused in %j", (config, message) => {
    expect(() => read(config)).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED", message: expect.stringContaining(message) }),
    );
  });
});
