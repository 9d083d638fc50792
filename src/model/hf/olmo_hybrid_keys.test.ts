import { describe, expect, test } from "vitest";
import { LLAMA, read, rewritten } from "../../../test/family_configs.ts";
import type { DeltaSpec, MixerSpec } from "../mixer_spec.ts";

const HYBRID = { ...LLAMA, model_type: "olmo_hybrid", num_hidden_layers: 4 };
const SIZES = {
  linear_conv_kernel_dim: 3,
  linear_num_key_heads: 2,
  linear_num_value_heads: 6,
  linear_key_head_dim: 8,
  linear_value_head_dim: 20,
  linear_allow_neg_eigval: false,
} as const;

describe("OLMo Hybrid", () => {
  const mixer = (config: object): MixerSpec | undefined => read({ ...HYBRID, ...config }).layers[0]!.mixer;

  test("has linear attention with norms before it, and attention with norms after it in each fourth layer", () => {
    const { norms, qkNorm, layers } = read(HYBRID);
    expect([norms, qkNorm]).toEqual(["after", "projection"]);
    expect(layers.map((layer) => [layer.mixer?.type, layer.norms])).toEqual([
      ...Array.from({ length: 3 }, () => ["delta", "before"]),
      [undefined, undefined],
    ]);
    const few = read({ ...HYBRID, num_hidden_layers: 3 });
    expect(few.layers.map(({ kvGroups }) => kvGroups > 0)).toEqual([false, false, true]);
    const layer_types = ["full_attention", "linear_attention", "linear_attention", "full_attention"];
    const named = read({ ...HYBRID, layer_types });
    expect(named.layers.map(({ mixer: other }) => other !== undefined)).toEqual([false, true, true, false]);
    expect(rewritten({ ...HYBRID, layer_types }).layer_types).toEqual(layer_types);
  });

  test("has as many heads as attention and 3/4 of the hidden size for keys, unless it says otherwise", () => {
    const [hidden, heads] = [Number(LLAMA.hidden_size), Number(LLAMA.num_attention_heads)];
    const usual: DeltaSpec = {
      ...{ type: "delta", length: 4, keyHeads: heads, valueHeads: heads, overcorrects: true, normEps: 1e-5 },
      ...{ keyDim: Math.floor((0.75 * hidden) / heads), valueDim: 2 * Math.floor((0.75 * hidden) / heads) },
    };
    expect(mixer({})).toEqual(usual);
    expect(mixer({ linear_num_key_heads: null, linear_value_head_dim: null })).toEqual(usual);
    expect(mixer(SIZES)).toEqual({
      ...{ type: "delta", length: 3, keyHeads: 2, valueHeads: 6, keyDim: 8, valueDim: 20, normEps: 1e-5 },
    });
    expect(rewritten({ ...HYBRID, ...SIZES })).toMatchObject(SIZES);
    expect(rewritten(HYBRID).linear_allow_neg_eigval).toBe(true);
  });

  test.each([
    [{}, 10_000],
    [{ rope_theta: 5e5 }, 5e5],
    [{ rope_theta: null }, null],
    [{ rope_parameters: null }, 10_000],
    [{ rope_parameters: null, rope_theta: null }, null],
    [{ rope_parameters: { rope_type: "default", rope_theta: null } }, null],
    [{ rope_parameters: { rope_type: "default", rope_theta: null }, rope_theta: 5e5 }, null],
    [{ rope_parameters: { rope_type: "default" }, rope_theta: null }, null],
    [{ rope_parameters: { rope_type: "default", rope_theta: 7e3 }, rope_theta: null }, 7e3],
  ])("is rotated with %j as its class does, by %s", (config, theta) => {
    const written = rewritten({ ...HYBRID, ...config });
    for (const each of [{ ...HYBRID, ...config }, written])
      expect(read(each).layers.map(({ rope }) => rope?.theta ?? null)).toEqual([null, null, null, theta]);
    expect(written.rope_parameters).toEqual({ rope_type: "default", rope_theta: theta });
  });

  test.each([
    { layer_types: Array<string>(4).fill("linear_attention") },
    { layer_types: Array<string>(4).fill("full_attention") },
    { layer_types: ["full_attention"] },
    { num_hidden_layers: 1 },
    { linear_num_key_heads: 3, linear_num_value_heads: 4 },
    { linear_num_key_heads: 4096, linear_num_value_heads: 4096 },
    { linear_key_head_dim: 4097 },
    { linear_conv_kernel_dim: 65 },
    { linear_allow_neg_eigval: 1 },
    { rope_theta: "10000" },
    { hidden_act: "gelu" },
  ])("refuses %j", (config) => {
    expect(() => read({ ...HYBRID, ...config })).toThrow(expect.objectContaining({ code: "BAD_CONFIG" }));
  });
});
