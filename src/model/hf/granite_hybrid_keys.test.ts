import { describe, expect, test } from "vitest";
import { GRANITE, read, rewritten } from "../../../test/family_configs.ts";
import { linearAttentionsOf } from "../mixer_layers.ts";
import type { MixerSpec } from "../mixer_spec.ts";

const HYBRID = {
  ...GRANITE,
  model_type: "granitemoehybrid",
  num_local_experts: 0,
  shared_intermediate_size: 40,
  layer_types: ["mamba", "attention"],
  position_embedding_type: "nope",
  mamba_n_heads: 4,
};

describe("Granite 4", () => {
  const attends = (config: object): readonly boolean[] =>
    read({ ...HYBRID, ...config }).layers.map(({ kvGroups }) => kvGroups > 0);
  const mixer = (config: object): MixerSpec | undefined => read({ ...HYBRID, ...config }).layers[0]!.mixer;

  test("has attention where layer_types says so, in the names of any version", () => {
    expect(attends({})).toEqual([false, true]);
    for (const layer_types of [
      ["linear_attention", "full_attention"],
      ["mamba", "full_attention", "mamba"],
    ]) {
      expect(attends({ layer_types })).toEqual([false, true]);
      expect(attends({ layer_types: undefined, layers_block_type: layer_types })).toEqual([false, true]);
    }
  });

  test("has the sizes of Mamba 2 that the configuration gives, or those of the class", () => {
    const usual = { type: "mamba2", length: 4, keyHeads: 1, keyDim: 256, biases: false, filterBiases: true };
    expect(mixer({})).toEqual({ ...usual, valueHeads: 4, valueDim: 16 });
    expect(mixer({ hidden_size: 64, mamba_n_heads: undefined })).toEqual({
      ...usual,
      valueHeads: 128,
      valueDim: 1,
    });
    const sizes = {
      mamba_n_heads: 6,
      mamba_n_groups: 2,
      mamba_d_state: 8,
      mamba_d_head: 16,
      mamba_d_conv: 3,
      mamba_expand: 3,
      mamba_conv_bias: false,
      mamba_proj_bias: true,
    };
    expect(mixer(sizes)).toEqual({
      type: "mamba2",
      length: 3,
      keyHeads: 2,
      valueHeads: 6,
      keyDim: 8,
      valueDim: 16,
      biases: true,
      filterBiases: false,
    });
    expect(rewritten({ ...HYBRID, ...sizes })).toMatchObject(sizes);
    expect(mixer({ mamba_d_head: "auto" })).toEqual(mixer({ mamba_d_head: 16 }));
  });

  test("has the neurons of the shared expert, and attention that is rotated only by name", () => {
    const { layers } = read(HYBRID);
    expect(layers.map(({ neurons }) => neurons)).toEqual([40, 40]);
    expect(read({ ...HYBRID, shared_intermediate_size: undefined }).layers[0]!.neurons).toBe(1024);
    const rotated = (position_embedding_type: unknown): boolean =>
      read({ ...HYBRID, position_embedding_type }).layers[1]!.rope !== null;
    expect([rotated("rope"), rotated("nope"), rotated(null), rotated(undefined)]).toEqual([
      true,
      false,
      false,
      false,
    ]);
  });

  test("has experts beside the shared one, with or without Mamba 2, unless it has none", () => {
    const shared = { normalised: true, shared: 40, sharedUngated: true };
    for (const layer_types of [["mamba", "attention"], Array(2).fill("attention")]) {
      const { layers } = read({ ...HYBRID, layer_types, num_local_experts: 6, num_experts_per_tok: 3 });
      expect(layers.map(({ neurons, experts }) => [neurons, experts])).toEqual(
        Array(2).fill([6 * 48, { count: 6, active: 3, ...shared }]),
      );
      expect(layers.map(({ mixer }) => mixer !== undefined)).toEqual([layer_types[0] === "mamba", false]);
    }
    const silent = { ...HYBRID, num_local_experts: undefined, shared_intermediate_size: undefined };
    expect(read(silent).layers[0]!.experts).toEqual({ count: 8, active: 2, ...shared, shared: 1024 });
    const written = rewritten({ ...HYBRID, num_local_experts: 6 });
    expect(written).toMatchObject({
      ...{ num_local_experts: 6, num_experts_per_tok: 2, intermediate_size: 48 },
      ...{ shared_intermediate_size: 40, layer_types: ["mamba", "attention"], mamba_n_heads: 4 },
    });
    expect(read(written)).toEqual(read({ ...HYBRID, num_local_experts: 6 }));
  });

  test("is read from keys as published files have them", () => {
    const published = {
      ...{ hidden_size: 768, num_attention_heads: 12, num_key_value_heads: 4, intermediate_size: 2048 },
      ...{ mamba_n_heads: 48, mamba_d_head: 32, mamba_d_state: 128, mamba_chunk_size: 256 },
      ...{ normalization_function: "rmsnorm", init_method: "mup", num_experts_per_tok: 0 },
      ...{ output_router_logits: false, router_aux_loss_coef: 0.01, rope_scaling: null },
    };
    const { headDim, layers } = read({ ...HYBRID, ...published });
    expect(headDim).toBe(64);
    expect(layers[0]!.mixer).toMatchObject({ keyHeads: 1, valueHeads: 48, keyDim: 128, valueDim: 32 });
    expect(layers[1]).toMatchObject({ neurons: 40, kvGroups: 4, groupSize: 3, rope: null });
  });

  test("takes steps without limits, in any way in which these are written", () => {
    const { extra: _, ...expected } = read(HYBRID);
    for (const limit of [{ __float__: "Infinity" }, "inf", null]) {
      const { extra: __, ...spec } = read({ ...HYBRID, time_step_limit: [0, limit] });
      expect(spec).toEqual(expected);
    }
  });

  test("is written in the keys that its class in every version and vLLM's read", () => {
    const written = rewritten(HYBRID);
    expect(written).toMatchObject({
      architectures: ["GraniteMoeHybridForCausalLM"],
      layer_types: ["mamba", "attention"],
      shared_intermediate_size: 40,
      position_embedding_type: "nope",
      num_local_experts: 0,
      num_experts_per_tok: 0,
      mamba_n_heads: 4,
      mamba_d_head: 16,
      mamba_expand: 2,
      attention_bias: false,
    });
    expect(written).not.toHaveProperty("time_step_limit");
    expect(rewritten({ ...HYBRID, position_embedding_type: "rope" })).toMatchObject({
      position_embedding_type: "rope",
    });
    expect(rewritten({ ...HYBRID, attention_bias: true }).attention_bias).toBe(true);
    const attention = rewritten({ ...HYBRID, layer_types: ["attention", "attention"], mamba_n_heads: 5 });
    expect(attention.mamba_n_heads).toBe(1);
    expect(attention).not.toHaveProperty("mamba_d_head");
    expect(linearAttentionsOf(read(attention))).toEqual([]);
  });

  test.each([
    { layer_types: ["mamba", "mamba"] },
    { layer_types: ["attention"] },
    { layer_types: ["mamba", "sliding_attention"] },
    { layer_types: null },
    { shared_intermediate_size: 0 },
    { mamba_n_heads: 5 },
    { mamba_n_heads: "4" },
    { mamba_n_heads: 0 },
    { mamba_n_groups: 3 },
    { mamba_d_state: 4097 },
    { mamba_d_head: 15 },
    { mamba_d_head: "wide" },
    { mamba_d_conv: 1 },
    { mamba_d_conv: 65 },
    { mamba_expand: 1.5 },
    { mamba_conv_bias: 1 },
    { mamba_proj_bias: null },
    { hidden_act: "gelu" },
  ])("refuses %j", (config) => {
    expect(() => read({ ...HYBRID, ...config })).toThrow(expect.objectContaining({ code: "BAD_CONFIG" }));
  });

  test.each([
    [{ time_step_limit: [0.001, { __float__: "Infinity" }] }, "time_step_limit [0, Infinity]"],
    [{ time_step_limit: [0, 0.1] }, "time_step_limit [0, Infinity]"],
  ])("has no support for %j", (config, message) => {
    expect(() => read({ ...HYBRID, ...config })).toThrow(
      expect.objectContaining({ code: "UNSUPPORTED", message: expect.stringContaining(message) }),
    );
  });
});
