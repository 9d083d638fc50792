import { describe, expect, test } from "vitest";
import { LLAMA, read, rewritten } from "../../../test/family_configs.ts";

describe("LFM2", () => {
  const LFM2 = { model_type: "lfm2", block_auto_adjust_ff_dim: false };
  const neuronsOf = (config: object): number =>
    read({ ...LLAMA, model_type: "lfm2", ...config }).layers[0]!.neurons;
  const attends = (config: object): readonly boolean[] =>
    read({ ...LLAMA, ...LFM2, num_hidden_layers: 3, ...config }).layers.map(({ kvGroups }) => kvGroups > 0);

  test("has a convolution where layer_types or, in older files, full_attn_idxs says so", () => {
    expect(attends({ layer_types: ["conv", "full_attention", "conv"] })).toEqual([false, true, false]);
    expect(attends({ full_attn_idxs: [2] })).toEqual([false, false, true]);
    expect(attends({ layer_types: ["conv", "conv", "full_attention"], full_attn_idxs: [0] })).toEqual([
      false,
      false,
      true,
    ]);
    expect(attends({})).toEqual([true, true, true]);
  });

  test("has the filters that the configuration gives, three tokens long by default", () => {
    const layer_types = ["conv", "full_attention"];
    const convolution = (config: object): unknown =>
      read({ ...LLAMA, ...LFM2, layer_types, ...config }).layers[0]!.mixer;
    expect(convolution({})).toEqual({ type: "convolution", length: 3, biases: false });
    expect(convolution({ conv_L_cache: 4, conv_bias: true })).toEqual({
      type: "convolution",
      length: 4,
      biases: true,
    });
  });

  test("has two thirds of the neurons given, times a factor, in whole blocks, unless it is told not to", () => {
    expect(neuronsOf({ intermediate_size: 12_288 })).toBe(8192);
    expect(neuronsOf({ intermediate_size: 1, block_ff_dim: 12_288 })).toBe(8192);
    expect(neuronsOf({ block_ff_dim: 1000, block_ffn_dim_multiplier: 1.3, block_multiple_of: 8 })).toBe(872);
    expect(neuronsOf({ block_ff_dim: 1000, block_ffn_dim_multiplier: null })).toBe(666);
    expect(neuronsOf({ block_ff_dim: 1000, block_auto_adjust_ff_dim: false })).toBe(1000);
  });

  test("has SiLU whatever the file says, as its class", () => {
    expect(read({ ...LLAMA, ...LFM2, hidden_act: "gelu" }).activation).toBe("silu");
  });

  test("is read where both keys for the base of rotary embeddings agree", () => {
    const rope = read({ ...LLAMA, ...LFM2, rope_theta: 5000, theta: 5000 }).layers[0]!.rope;
    expect(rope).toMatchObject({ theta: 5000 });
  });

  test("is written in the keys that its class and vLLM's read", () => {
    const config = { ...LFM2, layer_types: ["conv", "full_attention"], tie_embedding: false };
    expect(rewritten(config)).toMatchObject({
      layer_types: ["conv", "full_attention"],
      full_attn_idxs: [1],
      conv_L_cache: 3,
      conv_bias: false,
      conv_dim: 32,
      block_dim: 32,
      intermediate_size: 48,
      block_auto_adjust_ff_dim: false,
      tie_word_embeddings: false,
    });
    expect(rewritten(config)).not.toHaveProperty("block_ff_dim");
  });

  test.each([
    { layer_types: ["conv", "conv"] },
    { full_attn_idxs: [] },
    { layer_types: ["full_attention"] },
    { layer_types: ["full_attention", "sliding_attention"] },
    { full_attn_idxs: [-1] },
    { conv_L_cache: 1 },
    { conv_L_cache: 65 },
    { conv_bias: "no" },
    { block_ff_dim: 0 },
    { block_multiple_of: 0 },
    { rope_theta: 7000, theta: 5000 },
    { theta: 5000 },
    { block_ffn_dim_multiplier: -1 },
    { block_ff_dim: 1, block_ffn_dim_multiplier: null },
  ])("refuses %j", (config) => {
    expect(() => read({ ...LLAMA, ...LFM2, block_auto_adjust_ff_dim: true, ...config })).toThrow(
      expect.objectContaining({ code: "BAD_CONFIG" }),
    );
  });
});
