import { describe, expect, test } from "vitest";
import { LLAMA, read, rewritten } from "../../../test/family_configs.ts";
import { writeConfig } from "./form.ts";

describe("Llama 4", () => {
  const LLAMA4 = { model_type: "llama4_text", head_dim: 8, intermediate_size_mlp: 56, moe_layers: [] };
  const full = { layer_types: ["full_attention", "full_attention"] };
  const rotated = { no_rope_layers: [1, 1] };
  const longest = (config: object): number => read({ ...LLAMA, ...LLAMA4, ...config }).maxPositions;

  test("has its own key for neurons, and norms on queries and keys unless the configuration says no", () => {
    const written = rewritten(LLAMA4);
    expect(written).toMatchObject({ intermediate_size_mlp: 56, use_qk_norm: true });
    expect(written).not.toHaveProperty("intermediate_size");
    expect(rewritten({ ...LLAMA4, use_qk_norm: false }).use_qk_norm).toBe(false);
  });

  test("leaves each fourth layer unrotated where flags are missing or none", () => {
    for (const flags of [{}, { no_rope_layers: [] }])
      expect(rewritten({ ...LLAMA4, num_hidden_layers: 5, ...flags }).no_rope_layers).toEqual([
        1, 1, 1, 0, 1,
      ]);
  });

  test("has sequences that neither chunks nor growing queries change, and is written without either", () => {
    expect(longest({ ...full, ...rotated })).toBe(131_072);
    expect(longest({ ...rotated, attention_chunk_size: null })).toBe(131_072);
    expect(longest(rotated)).toBe(8192);
    expect(longest({ ...rotated, max_position_embeddings: 100 })).toBe(100);
    expect(longest({ ...rotated, attention_chunk_size: 50 })).toBe(50);
    const unrotated = { ...full, no_rope_layers: [1, 0] };
    expect(longest(unrotated)).toBe(8191);
    expect(longest({ ...unrotated, floor_scale: 40 })).toBe(39);
    expect(longest({ ...unrotated, attn_temperature_tuning: false })).toBe(131_072);
    expect(rewritten({ ...LLAMA4, attention_chunk_size: 50, no_rope_layers: [1, 0] })).toMatchObject({
      ...full,
      max_position_embeddings: 50,
      attention_chunk_size: 50,
      attn_temperature_tuning: false,
    });
  });

  test("is written as a model without experts where its list of layers with some is empty", () => {
    const dense = { moe_layers: [], interleave_moe_layer_step: 0, num_local_experts: 0 };
    expect(rewritten(LLAMA4)).toMatchObject(dense);
    expect(rewritten({ ...LLAMA4, num_local_experts: 4 })).toMatchObject(dense);
  });

  describe("with experts", () => {
    const EXPERTS = { ...LLAMA4, num_hidden_layers: 4, intermediate_size: 24, num_local_experts: 4 };
    const sparse = (config: object): readonly number[] =>
      read({ ...LLAMA, ...EXPERTS, ...config }).layers.flatMap(({ experts }, layer) =>
        experts ? [layer] : [],
      );

    test("has them in the layers of a list, or in every n-th", () => {
      expect(sparse({ moe_layers: [0, 3], interleave_moe_layer_step: 2 })).toEqual([0, 3]);
      for (const moe_layers of [null, undefined]) {
        expect(sparse({ moe_layers })).toEqual([0, 1, 2, 3]);
        expect(sparse({ moe_layers, interleave_moe_layer_step: 2 })).toEqual([1, 3]);
      }
    });

    test("weighs what they read by sigmoids, beside a shared one as wide as they are", () => {
      const { layers } = read({ ...LLAMA, ...EXPERTS, moe_layers: [1], num_experts_per_tok: 2 });
      expect(layers.map(({ neurons }) => neurons)).toEqual([56, 96, 56, 56]);
      const routing = { count: 4, active: 2, normalised: false, sigmoid: true, weighsInput: true };
      expect(layers[1]?.experts).toEqual({ ...routing, shared: 24, sharedUngated: true });
      const { intermediate_size: _, num_local_experts: __, ...silent } = { ...LLAMA, ...EXPERTS };
      const usual = read({ ...silent, moe_layers: [1] }).layers[1];
      expect(usual).toMatchObject({ neurons: 16 * 8192, experts: { count: 16, active: 1, shared: 8192 } });
    });

    test("is written with their layers and widths in its own keys, and comes back", () => {
      const written = rewritten({ ...EXPERTS, moe_layers: [1, 3] });
      expect(written).toMatchObject({
        ...{ moe_layers: [1, 3], interleave_moe_layer_step: 2, num_local_experts: 4 },
        ...{ intermediate_size: 24, intermediate_size_mlp: 56, model_type: "llama4_text" },
      });
      expect(written).not.toHaveProperty("moe_intermediate_size");
      const spec = read({ ...LLAMA, ...EXPERTS, moe_layers: [1, 3] });
      expect(read(written).layers).toEqual(spec.layers);
      const narrow = {
        ...spec,
        layers: spec.layers.map((layer) => (layer.experts ? { ...layer, neurons: 4 * 16 } : layer)),
      };
      const remote = writeConfig(narrow, "float32");
      expect(remote).toMatchObject({ model_type: "gprune_llama4_text", shared_expert_intermediate_size: 24 });
      expect(read(remote).layers).toEqual(narrow.layers);
    });

    test.each([
      { intermediate_size: 0 },
      { moe_layers: [-1] },
      { moe_layers: null, interleave_moe_layer_step: -1 },
      { num_experts_per_tok: 5 },
    ])("is refused with %j", (keys) => {
      expect(() => sparse({ moe_layers: [1], ...keys })).toThrow(
        expect.objectContaining({
          code: "BAD_CONFIG",
          message: expect.stringContaining(Object.keys(keys).at(-1)!),
        }),
      );
    });
  });

  test.each([
    { layer_types: ["sliding_attention"] },
    { attention_chunk_size: 0 },
    { floor_scale: 1 },
    { attn_temperature_tuning: "yes" },
  ])("is refused with %j", (keys) => {
    expect(() => longest(keys)).toThrow(
      expect.objectContaining({
        code: "BAD_CONFIG",
        message: expect.stringContaining(Object.keys(keys)[0]!),
      }),
    );
  });
});
