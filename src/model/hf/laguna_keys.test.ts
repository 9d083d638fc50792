import { describe, expect, test } from "vitest";
import { queryHeads } from "../spec.ts";
import { readConfig } from "./config.ts";
import { writeConfig } from "./form.ts";

const CONFIG = {
  ...{ model_type: "laguna", hidden_size: 16, intermediate_size: 20, num_hidden_layers: 3, vocab_size: 16 },
  ...{ num_attention_heads: 4, num_key_value_heads: 2, head_dim: 8, moe_intermediate_size: 6 },
  ...{ num_experts: 4, num_experts_per_tok: 2, shared_expert_intermediate_size: 10 },
} as const;

/** As published (Laguna XS 2.1), with keys of other programs. */
const MIXED = {
  ...{ ...CONFIG, gating: "per-head", gating_types: ["per_head", "per_head", "per_head"] },
  layer_types: ["full_attention", "sliding_attention", "sliding_attention"],
  num_attention_heads_per_layer: [4, 8, 8],
  mlp_layer_types: ["dense", "sparse", "sparse"],
  moe_routed_scaling_factor: 2.5,
  partial_rotary_factor: 0.25,
  rope_parameters: {
    full_attention: { rope_type: "yarn", rope_theta: 500, factor: 4, partial_rotary_factor: 0.5 },
    sliding_attention: { rope_type: "default", rope_theta: 100 },
    original_max_position_embeddings: 32,
  },
} as const;

/** As published (Laguna M.1): no windows. */
const CHANNELS = { ...CONFIG, gating: "per-element", sliding_window: 0 } as const;

const read = (config: Readonly<Record<string, unknown>>): ReturnType<typeof readConfig> =>
  readConfig(config, "config.json");

describe("config.json of Laguna", () => {
  test("says gates, query heads, windows and rotations by layer, and experts", () => {
    const spec = read(MIXED);
    expect(spec).toMatchObject({ gatedAttention: "head_gates", softplusGates: true, qkNorm: "head" });
    const { layers } = spec;
    expect(layers.map(({ kvGroups, groupSize, window }) => [kvGroups, groupSize, window])).toEqual([
      [2, 2, null],
      [2, 4, 512],
      [2, 4, 512],
    ]);
    expect(layers.map(({ rope }) => [rope!.theta, rope!.rotaryDim, rope!.scaling?.type])).toEqual([
      [500, 4, "yarn"],
      [100, 8, undefined],
      [100, 8, undefined],
    ]);
    expect(layers.map(({ neurons }) => neurons)).toEqual([20, 24, 24]);
    expect(layers.map(({ experts }) => experts)).toEqual([
      undefined,
      ...Array(2).fill({
        ...{ count: 4, active: 2, normalised: true, sigmoid: true, corrected: true, scale: 2.5 },
        ...{ shared: 10, sharedUngated: true },
      }),
    ]);
  });

  test("may have a gate for each channel, and no windows", () => {
    const spec = read(CHANNELS);
    expect(spec).toMatchObject({ gatedAttention: "gate_proj", softplusGates: true });
    expect(spec.layers.map(({ window, rope }) => [window, rope])).toEqual(
      Array(3).fill([null, { theta: 500_000, rotaryDim: 4, scaling: null }]),
    );
  });

  test.each([
    ["gates for each head", MIXED],
    ["gates for each channel", CHANNELS],
    ["biases", { ...MIXED, attention_bias: true }],
  ])("is written with the keys of transformers and vLLM: %s", (_, config) => {
    const spec = read(config);
    const written = writeConfig(spec, "float32");
    expect(read(JSON.parse(JSON.stringify(written)))).toEqual(spec);
    expect(written).toMatchObject({
      model_type: "laguna",
      gating: spec.gatedAttention === "gate_proj" ? "per-element" : "per-head",
      num_attention_heads_per_layer: spec.layers.map(queryHeads),
      mlp_layer_types: ["dense", "sparse", "sparse"],
      mlp_only_layers: [0],
      decoder_sparse_step: 1,
      qkv_bias: "attention_bias" in config,
      sliding_window: config === CHANNELS ? 0 : 512,
    });
  });

  test("is written for our modelling file where layers have different key/value heads", () => {
    const spec = read(MIXED);
    const [first, ...others] = spec.layers;
    const narrow = { ...spec, layers: [{ ...first!, kvGroups: 1 }, ...others] };
    const written = writeConfig(narrow, "float32");
    expect(written).toMatchObject({
      model_type: "gprune_laguna",
      num_attention_heads_per_layer: [2, 8, 8],
      per_layer_config: { 0: { num_attention_heads: 2, num_key_value_heads: 1 } },
    });
    expect(read(JSON.parse(JSON.stringify(written)))).toEqual(narrow);
  });

  test.each<[title: string, changes: Readonly<Record<string, unknown>>, message: string]>([
    ["no gates", { gating: false }, 'expected gating true, "per-head" or "per-element"'],
    [
      "gates that keys disagree on",
      { gating: true, gating_types: ["per_element", "per_element", "per_element"] },
      "expected gating_types per_head, got per_element, and gating true",
    ],
    ["a list without some layers", { num_attention_heads_per_layer: [4] }, "with an entry for every layer"],
    ["query heads that groups do not divide", { num_attention_heads_per_layer: [4, 3, 4] }, "in layer 1"],
    ["windows without a length", { sliding_window: 0 }, "expected a length as sliding_window, got 0"],
    [
      "windows without a rotation",
      { rope_parameters: { full_attention: { rope_theta: 100 } } },
      "expected rope_parameters of sliding_attention, got none",
    ],
    [
      "capped logits of routers",
      { moe_router_logit_softcapping: 3 },
      "expected moe_router_logit_softcapping 0",
    ],
    ["sinks", { swa_attention_sink_enabled: true }, "expected swa_attention_sink_enabled false"],
  ])("is refused with %s", (_, changes, message) => {
    expect(() => read({ ...MIXED, ...changes })).toThrow(message);
  });
});
