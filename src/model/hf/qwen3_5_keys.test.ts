import { describe, expect, test } from "vitest";
import { LLAMA, read, rewritten } from "../../../test/family_configs.ts";
import { deltasOf } from "../mixer_layers.ts";
import type { MixerSpec } from "../mixer_spec.ts";

const QWEN35 = { ...LLAMA, model_type: "qwen3_5_text", num_key_value_heads: 2 };
const MIXED = { ...QWEN35, layer_types: ["linear_attention", "full_attention"] };

describe("Qwen 3.5", () => {
  const attends = (config: object): readonly boolean[] =>
    read({ ...QWEN35, num_hidden_layers: 5, ...config }).layers.map(({ kvGroups }) => kvGroups > 0);
  const mixer = (config: object): MixerSpec | undefined => read({ ...MIXED, ...config }).layers[0]!.mixer;

  test("has linear attention where layer_types or, without it, an interval says so", () => {
    expect(
      attends({ layer_types: ["full_attention", ...new Array<string>(4).fill("linear_attention")] }),
    ).toEqual([true, false, false, false, false]);
    for (const layer_types of [undefined, null]) {
      expect(attends({ layer_types })).toEqual([false, false, false, true, false]);
      expect(attends({ layer_types, full_attention_interval: 2 })).toEqual([false, true, false, true, false]);
    }
    const all = new Array<string>(5).fill("full_attention");
    expect(attends({ layer_types: all, full_attention_interval: 2 })).toEqual(all.map(() => true));
  });

  test("has the heads and filters that the configuration gives, or those of the class", () => {
    expect(mixer({})).toEqual({
      type: "delta",
      length: 4,
      keyHeads: 16,
      valueHeads: 32,
      keyDim: 128,
      valueDim: 128,
    });
    const sizes = {
      linear_conv_kernel_dim: 3,
      linear_num_key_heads: 2,
      linear_num_value_heads: 6,
      linear_key_head_dim: 8,
      linear_value_head_dim: 16,
    };
    expect(mixer(sizes)).toEqual({
      type: "delta",
      length: 3,
      keyHeads: 2,
      valueHeads: 6,
      keyDim: 8,
      valueDim: 16,
    });
    expect(rewritten({ ...MIXED, ...sizes })).toMatchObject(sizes);
  });

  test("has gates, norms on queries and keys, and a quarter of heads of 256 rotated, unless it says otherwise", () => {
    const { headDim, gatedAttention, qkNorm, normOffset, layers } = read(MIXED);
    expect({ headDim, gatedAttention, qkNorm, normOffset }).toEqual({
      headDim: 256,
      gatedAttention: "q_proj",
      qkNorm: "head",
      normOffset: 1,
    });
    expect(layers.map(({ rope }) => rope?.rotaryDim)).toEqual([undefined, 64]);
    const rope_parameters = { rope_type: "default", rope_theta: 1e7, partial_rotary_factor: 0.5 };
    expect(read({ ...MIXED, rope_parameters }).layers[1]!.rope).toMatchObject({ theta: 1e7, rotaryDim: 128 });
    expect(read({ ...MIXED, partial_rotary_factor: null }).layers[1]!.rope!.rotaryDim).toBe(256);
  });

  test("takes positions of images for those of text, and keys that change nothing", () => {
    const rope_parameters = {
      rope_type: "default",
      rope_theta: 1e7,
      partial_rotary_factor: 0.25,
      mrope_section: [11, 11, 10],
      mrope_interleaved: true,
    };
    const { mrope_section: _, mrope_interleaved: __, ...plain } = rope_parameters;
    const others = { mamba_ssm_dtype: "float32", mtp_num_hidden_layers: 1, mlp_only_layers: [] };
    const { extra: _extra, ...spec } = read({ ...MIXED, ...others, rope_parameters });
    const { extra: _plainExtra, ...expected } = read({ ...MIXED, rope_parameters: plain });
    expect(spec).toEqual(expected);
  });

  test("is written in the keys that its class and vLLM's read", () => {
    expect(rewritten(MIXED)).toMatchObject({
      architectures: ["Qwen3_5ForCausalLM"],
      layer_types: ["linear_attention", "full_attention"],
      attn_output_gate: true,
      attention_bias: false,
      linear_conv_kernel_dim: 4,
      linear_num_key_heads: 16,
      num_key_value_heads: 2,
    });
    const biased = { ...MIXED, attention_bias: true };
    expect(rewritten(biased).attention_bias).toBe(true);
    expect(read(biased).layers.map(({ biases }) => biases)).toEqual([
      [],
      ["q_proj", "k_proj", "v_proj", "o_proj"],
    ]);
    const attention = rewritten({ ...QWEN35, layer_types: ["full_attention", "full_attention"] });
    expect(attention).not.toHaveProperty("linear_num_key_heads");
    expect(deltasOf(read(attention))).toEqual([]);
  });

  test.each([
    { layer_types: ["linear_attention", "linear_attention"] },
    { layer_types: ["full_attention"] },
    { layer_types: ["full_attention", "sliding_attention"] },
    { layer_types: null },
    { layer_types: null, full_attention_interval: 0 },
    { linear_conv_kernel_dim: 1 },
    { linear_conv_kernel_dim: 65 },
    { linear_num_key_heads: 0 },
    { linear_num_key_heads: 3 },
    { linear_num_value_heads: "32" },
    { linear_key_head_dim: 4097 },
    { linear_value_head_dim: 1.5 },
    { hidden_act: "gelu" },
  ])("refuses %j", (config) => {
    expect(() => read({ ...MIXED, ...config })).toThrow(expect.objectContaining({ code: "BAD_CONFIG" }));
  });
});

describe("Qwen3-Next", () => {
  const NEXT = { ...LLAMA, model_type: "qwen3_next", num_key_value_heads: 2, num_hidden_layers: 4 };

  test("has delta rules, and experts beside a shared one, with the defaults of its class", () => {
    const { layers, gatedAttention, normOffset } = read(NEXT);
    expect([gatedAttention, normOffset]).toEqual(["q_proj", 1]);
    expect(layers.map(({ mixer }) => mixer?.type)).toEqual(["delta", "delta", "delta", undefined]);
    for (const { neurons, experts } of layers) {
      expect(experts).toEqual({ count: 512, active: 10, normalised: true, shared: 512 });
      expect(neurons).toBe(512 * 512);
    }
  });

  test("has layers without experts where keys say so, and writes what it read", () => {
    const config = {
      ...{ ...NEXT, num_experts: 4, num_experts_per_tok: 2, norm_topk_prob: false },
      ...{ moe_intermediate_size: 24, shared_expert_intermediate_size: 40, mlp_only_layers: [2] },
      layer_types: ["full_attention", "linear_attention", "linear_attention", "full_attention"],
    };
    const { layers } = read(config);
    expect(layers[2]).toMatchObject({ neurons: LLAMA.intermediate_size, mixer: { type: "delta" } });
    expect(layers[2]!.experts).toBeUndefined();
    expect(layers[3]).toMatchObject({ neurons: 96, experts: { normalised: false, shared: 40 } });
    const written = rewritten(config);
    const { mlp_only_layers, layer_types, moe_intermediate_size } = config;
    expect(written).toMatchObject({ mlp_only_layers, layer_types, moe_intermediate_size });
    expect(written).not.toHaveProperty("attn_output_gate");
  });
});
