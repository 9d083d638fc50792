import { describe, expect, test } from "vitest";
import { LLAMA, read, rewritten } from "../../../test/family_configs.ts";

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

  test("is written as a model without experts, and refused with any", () => {
    const dense = { moe_layers: [], interleave_moe_layer_step: 0, num_local_experts: 0 };
    expect(rewritten(LLAMA4)).toMatchObject(dense);
    for (const moe_layers of [[1], null, undefined]) {
      expect(() => read({ ...LLAMA, ...LLAMA4, moe_layers })).toThrow(
        expect.objectContaining({
          code: "UNSUPPORTED",
          message: "config.json: expected moe_layers [], got layers with experts",
        }),
      );
    }
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
