import { describe, expect, test } from "vitest";
import { LLAMA, read, rewritten } from "../../../test/family_configs.ts";
import type { ModelSpec } from "../spec.ts";
import { writeConfig } from "./form.ts";

const [S, F] = ["sliding_attention", "full_attention"] as const;
const DEFAULT = { rope_type: "default", rope_theta: 100 };
const GEMMA4 = {
  model_type: "gemma4_text",
  head_dim: 8,
  global_head_dim: 16,
  num_hidden_layers: 6,
  layer_types: [S, S, F, S, S, F],
  hidden_size_per_layer_input: 0,
};
const WITH_EXPERTS = { enable_moe_block: true, num_experts: 4, top_k_experts: 2, moe_intermediate_size: 24 };

function gemma4(changes: object = {}): ModelSpec {
  return read({ ...LLAMA, ...GEMMA4, ...changes });
}

describe("Gemma 4", () => {
  test("has heads of another size in layers without a window, of which a quarter turns", () => {
    const { layers, headDim } = gemma4();
    expect(headDim).toBe(8);
    expect(layers.map((layer) => layer.headDim)).toEqual([
      undefined,
      undefined,
      16,
      undefined,
      undefined,
      16,
    ]);
    expect(layers[0]!.rope).toEqual({ theta: 10_000, rotaryDim: 8, scaling: null });
    expect(layers[2]!.rope).toEqual({
      theta: 1_000_000,
      rotaryDim: 16,
      scaling: { type: "proportional", pairs: 2, factor: 1 },
    });
  });

  test("needs rotations of the types of layers that it has alone", () => {
    const only = { layer_types: [F, F, F, F, F, F], rope_parameters: { [F]: DEFAULT } };
    expect(gemma4(only).layers[0]!.rope).toMatchObject({ theta: 100 });
  });

  test("takes the sizes of heads from per_layer_config where a file has it", () => {
    const per_layer_config = { 2: { head_dim: 12, num_key_value_heads: 1 }, 5: { head_dim: 12 } };
    const { layers } = gemma4({ per_layer_config });
    expect(layers[2]).toMatchObject({ headDim: 12, kvGroups: 1 });
    expect(layers[5]).toMatchObject({ headDim: 12, kvGroups: gemma4().layers[0]!.kvGroups });
  });

  test("shares the keys of the last layer of each type before those that have none", () => {
    const { layers } = gemma4({ num_kv_shared_layers: 3 });
    expect(layers.map(({ kvSharing }) => kvSharing)).toEqual([
      undefined,
      { role: "source" },
      { role: "source" },
      { role: "reader", source: 1 },
      { role: "reader", source: 1 },
      { role: "reader", source: 2 },
    ]);
    expect(gemma4({ num_kv_shared_layers: 0 }).layers.every((layer) => layer.kvSharing === undefined)).toBe(
      true,
    );
  });

  test("gives layers that read other keys FFNs of twice the size where it says so", () => {
    const neurons = gemma4({ num_kv_shared_layers: 2, use_double_wide_mlp: true }).layers.map(
      (layer) => layer.neurons,
    );
    const [first] = neurons as [number];
    expect(neurons).toEqual([first, first, first, first, 2 * first, 2 * first]);
  });

  test("takes keys for values in layers without a window where it says so", () => {
    const { layers } = gemma4({
      attention_k_eq_v: true,
      num_global_key_value_heads: 1,
      attention_bias: true,
    });
    expect(layers.map(({ valuesAreKeys = false }) => valuesAreKeys)).toEqual([
      ...[false, false, true],
      ...[false, false, true],
    ]);
    expect(layers[2]).toMatchObject({ kvGroups: 1, biases: ["q_proj", "k_proj", "o_proj"] });
    expect(layers[0]!.biases).toContain("v_proj");
  });

  test("sees everything in its last layer, whatever layer_types says, and in every sixth without that", () => {
    const windows = (config: object): readonly boolean[] =>
      gemma4(config).layers.map(({ window }) => window !== null);
    expect(windows({ layer_types: [S, S, S, S, S, S] })).toEqual([true, true, true, true, true, false]);
    expect(windows({ layer_types: null, num_hidden_layers: 7 })).toEqual([
      ...[true, true, true, true, true, false],
      false,
    ]);
  });

  test("has inputs of layers unless their size is 0 or null", () => {
    expect(gemma4({ hidden_size_per_layer_input: 4, vocab_size_per_layer_input: 9 }).perLayerInputs).toEqual({
      size: 4,
      vocabSize: 9,
    });
    expect(gemma4({ hidden_size_per_layer_input: undefined }).perLayerInputs?.size).toBe(256);
    expect(gemma4({ hidden_size_per_layer_input: null }).perLayerInputs).toBeNull();
  });

  test.each([
    [{ enable_moe_block: true, num_experts: 4, top_k_experts: 2 }, "expected moe_intermediate_size"],
    [{ ...WITH_EXPERTS, num_experts: null }, "expected num_experts beside enable_moe_block, got none"],
    [{ ...WITH_EXPERTS, top_k_experts: 5 }, "expected top_k_experts of at most 4"],
    [{ ...WITH_EXPERTS, num_experts: 5000 }, "num_experts"],
    [{ use_bidirectional_attention: "all" }, "expected causal attention"],
    [{ num_kv_shared_layers: 6 }, "expected a layer with sliding_attention before the last 6"],
    [{ num_kv_shared_layers: 4 }, "expected a layer with full_attention before the last 4"],
    [{ num_kv_shared_layers: 7 }, "expected a layer with sliding_attention before the last 7"],
    [
      { rope_parameters: { full_attention: DEFAULT } },
      "expected rope_parameters of sliding_attention, got none",
    ],
    [
      { rope_parameters: { ...DEFAULT, [S]: DEFAULT } },
      "expected rope_parameters of full_attention, got none",
    ],
    [{ rope_parameters: { [S]: DEFAULT, [F]: { rope_type: "default" } } }, "rope_theta"],
    [{ rope_scaling: { rope_type: "linear", factor: 2 } }, "expected rope_parameters alone"],
    [{ sliding_window: null }, "sliding_window"],
    [{ layer_types: [S, F] }, "expected layer_types with an entry for every layer, got 2"],
    [{ per_layer_config: { 0: { sliding_window: 3 } } }, "sliding_window"],
  ])("refuses %j", (changes, message) => {
    expect(() => gemma4(changes)).toThrow(message);
  });

  test("has experts beside the FFN of every layer where it says so", () => {
    const { layers } = gemma4({ ...WITH_EXPERTS, num_kv_shared_layers: 2, use_double_wide_mlp: true });
    const [shared] = gemma4().layers.map(({ neurons }) => neurons);
    expect(layers.map(({ neurons }) => neurons)).toEqual(layers.map(() => 4 * 24));
    expect(layers.map(({ experts }) => experts?.shared)).toEqual(
      layers.map((_, index) => (index < 4 ? shared! : 2 * shared!)),
    );
    expect(layers[0]!.experts).toEqual({
      ...{ count: 4, active: 2, normalised: true, shared, sharedUngated: true },
      ...{ ownNorms: true, ownScales: true },
    });
    expect(gemma4({ ...WITH_EXPERTS, enable_moe_block: false }).layers[0]!.experts).toBeUndefined();
  });

  test("writes experts in the class's keys, and for ours the widths of those of every layer", () => {
    const config = { ...GEMMA4, ...WITH_EXPERTS, num_kv_shared_layers: 2, use_double_wide_mlp: true };
    const spec = read({ ...LLAMA, ...config });
    const intermediate_size = gemma4().layers[0]!.neurons;
    expect(writeConfig(spec, "float32")).toMatchObject({ ...config, intermediate_size });
    const pruned = {
      ...spec,
      layers: spec.layers.map((layer, index) => ({ ...layer, neurons: layer.neurons - 4 * index })),
    };
    const written = writeConfig(pruned, "float32");
    expect(written).toMatchObject({
      ...{ intermediate_size, moe_intermediate_size: 24, use_double_wide_mlp: true },
      experts_implementation: "eager",
      layer_widths: { 1: { intermediate_size: 23 } },
    });
    expect(read(written)).toEqual(pruned);
  });

  test("writes what the class reads, and for ours the widths of every layer", () => {
    const config = { ...GEMMA4, num_kv_shared_layers: 2, use_double_wide_mlp: true };
    expect(rewritten(config)).toMatchObject({ ...config, intermediate_size: gemma4().layers[0]!.neurons });
    expect(rewritten(config)).not.toHaveProperty("per_layer_config");
  });

  test("writes rotations by type alone: the class takes rope_scaling for all of rope_parameters", () => {
    const rope_parameters = {
      sliding_attention: { rope_type: "default", rope_theta: 500 },
      full_attention: { rope_type: "linear", factor: 4, rope_theta: 7000 },
    };
    const written = rewritten({ ...GEMMA4, rope_parameters });
    expect(written).toMatchObject({ rope_parameters });
    for (const key of ["rope_scaling", "rope_theta", "rope_local_base_freq"])
      expect(written).not.toHaveProperty(key);
  });

  test.each([
    [44, 15],
    [52, 15],
    [256, 32],
    [8, 0],
  ])("writes for heads of %i channels with %i turning pairs a part that gives as many", (head_dim, pairs) => {
    const part = { partial_rotary_factor: (2 * pairs + 0.5) / head_dim };
    const full_attention = { rope_type: "proportional", rope_theta: 100, ...part };
    const rope_parameters = { full_attention, sliding_attention: DEFAULT };
    const changes = { global_head_dim: head_dim, rope_parameters };
    expect(gemma4(changes).layers[2]!.rope!.scaling).toMatchObject({ pairs });
    rewritten({ ...GEMMA4, ...changes });
  });
});

test("only this family has head sizes by layer", () => {
  const per_layer_config = { 1: { head_dim: 24 } };
  expect(() => read({ ...LLAMA, num_hidden_layers: 2, per_layer_config })).toThrow("head_dim");
});
