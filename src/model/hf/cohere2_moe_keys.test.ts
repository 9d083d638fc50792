import { describe, expect, test } from "vitest";
import { readConfig } from "./config.ts";
import { writeConfig } from "./form.ts";

const CONFIG = {
  ...{ model_type: "cohere2_moe", hidden_size: 16, num_hidden_layers: 6, vocab_size: 16 },
  ...{ num_attention_heads: 4, num_key_value_heads: 2, head_dim: 8, logit_scale: 0.25 },
  ...{ intermediate_size: 6, num_experts: 4, num_experts_per_tok: 2 },
} as const;

/** As published (North Mini Code), with keys of other programs. */
const NORTH = {
  ...{ ...CONFIG, prefix_dense_intermediate_size: 24, first_k_dense_replace: 1, num_shared_experts: 0 },
  ...{ expert_selection_fn: "sigmoid", norm_topk_prob: false, rms_norm_eps: 1e-6, layer_norm_eps: 1e-5 },
  ...{ prefix_dense_sliding_window_pattern: 1, sliding_window: 16, use_parallel_block: true },
} as const;

const SHARED = { ...NORTH, num_shared_experts: 2, norm_topk_prob: true } as const;

type Config = Readonly<Record<string, unknown>>;

const read = (config: Config): ReturnType<typeof readConfig> => readConfig(config, "config.json");

/** Windows of layers, and whether they turn. */
const typesOf = (config: Config): unknown =>
  read(config).layers.map(({ window, rope }) => [window, rope !== null]);

const WINDOWED = [16, true] as const;
const TURNING = [null, true] as const;
const RESTING = [null, false] as const;

describe("config.json of Cohere 2 MoE", () => {
  test("says norms, and experts after layers of another width", () => {
    const spec = read(NORTH);
    expect(spec).toMatchObject({
      ...{ normType: "rms", normEps: 1e-6, parallel: true, norms: "shared", headDim: 8, logitDivisor: 4 },
      tiedEmbeddings: true,
    });
    const ofSigmoids = { count: 4, active: 2, normalised: false, sigmoid: true };
    expect(spec.layers.map(({ neurons, experts }) => [neurons, experts])).toEqual([
      [24, undefined],
      ...Array(5).fill([24, ofSigmoids]),
    ]);
    expect(read({ ...NORTH, rms_norm_eps: null })).toMatchObject({ normType: "layer", normEps: 1e-5 });
    expect(read({ ...NORTH, prefix_dense_intermediate_size: null }).layers[0]!.neurons).toBe(6);
  });

  test("says how experts are picked, and how the shared one joins them", () => {
    const expertsOf = (config: Config): unknown => read(config).layers[1]!.experts;
    const ofSigmoids = { count: 4, active: 2, normalised: true, sigmoid: true };
    const beside = { ...ofSigmoids, shared: 12, sharedUngated: true };
    expect(expertsOf(SHARED)).toEqual({ ...beside, averaged: true });
    expect(expertsOf({ ...SHARED, shared_expert_combination_strategy: "sum" })).toEqual(beside);
    // The class has a softmax over the picked ones alone.
    const ofSoftmax = { count: 4, active: 2, normalised: true };
    expect(expertsOf({ ...NORTH, expert_selection_fn: "softmax" })).toEqual(ofSoftmax);
    expect(expertsOf(CONFIG)).toEqual(ofSoftmax);
  });

  test("says which layers have a window, counted anew from the first with experts, and turns those without", () => {
    const each4th = [WINDOWED, WINDOWED, WINDOWED, RESTING, WINDOWED];
    expect(typesOf(NORTH)).toEqual([TURNING, ...each4th]);
    const dense = { ...NORTH, first_k_dense_replace: 3 };
    const each2nd = [WINDOWED, RESTING, WINDOWED];
    expect(typesOf({ ...dense, sliding_window_pattern: 2 })).toEqual([
      ...[TURNING, TURNING, TURNING],
      ...each2nd,
    ]);
    expect(typesOf({ ...dense, prefix_dense_sliding_window_pattern: 2 })).toEqual([
      ...each2nd,
      ...[WINDOWED, WINDOWED, WINDOWED],
    ]);
  });

  test("may name the type of every layer, and of its FFN", () => {
    const types = ["full", "sliding", "full", "sliding", "full", "full"].map((type) => `${type}_attention`);
    const ffns = ["dense", "dense", "sparse", "sparse", "dense", "sparse"];
    const named = { ...NORTH, layer_types: types, mlp_layer_types: ffns };
    expect(typesOf(named)).toEqual([TURNING, WINDOWED, RESTING, WINDOWED, TURNING, RESTING]);
    expect(read(named).layers.map(({ experts }) => experts !== undefined)).toEqual(
      ffns.map((type) => type === "sparse"),
    );
    const resting = { ...named, prefix_dense_sliding_window_pattern: 4 };
    expect(typesOf(resting)).toEqual([RESTING, WINDOWED, RESTING, WINDOWED, RESTING, RESTING]);
  });

  test.each<[string, Config]>([
    ["as published", NORTH],
    ["a shared expert", SHARED],
    ["a shared expert that is added", { ...SHARED, shared_expert_combination_strategy: "sum" }],
    ["LayerNorms and a softmax", { ...CONFIG, attention_bias: true, tie_word_embeddings: false }],
    ["a scaled rotation", { ...NORTH, rope_parameters: { rope_type: "linear", factor: 4, rope_theta: 90 } }],
    ["no experts", { ...NORTH, first_k_dense_replace: 6 }],
    [
      "unrotated layers without experts",
      {
        ...{ ...NORTH, first_k_dense_replace: 2, prefix_dense_sliding_window_pattern: 3 },
        layer_types: Array(6).fill("full_attention"),
      },
    ],
  ])("is written with the keys of transformers and vLLM: %s", (_, config) => {
    const spec = read(config);
    const written = writeConfig(spec, "float32");
    expect(written).toMatchObject({ model_type: "cohere2_moe" });
    expect(written).not.toHaveProperty("rope_scaling");
    expect(read(JSON.parse(JSON.stringify(written)))).toEqual(spec);
  });

  test("is written for our modelling file where layers differ in width", () => {
    const spec = read(SHARED);
    const layers = spec.layers.map((layer, index) => (index === 2 ? { ...layer, neurons: 12 } : layer));
    const written = writeConfig({ ...spec, layers }, "float32");
    expect(written).toMatchObject({
      ...{ model_type: "gprune_cohere2_moe", intermediate_size: 6, prefix_dense_intermediate_size: 24 },
      ...{ num_shared_experts: 2, shared_expert_intermediate_size: 12 },
      per_layer_config: {
        ...{ 0: { intermediate_size: 24 }, 1: { intermediate_size: 6 }, 2: { intermediate_size: 3 } },
      },
    });
    expect(read(JSON.parse(JSON.stringify(written)))).toEqual({ ...spec, layers });
  });

  test("says rotation in rope_parameters, else in rope_theta", () => {
    const ropeOf = (keys: Config): unknown => read({ ...NORTH, rope_scaling: null, ...keys }).layers[1]!.rope;
    const unscaled = { rotaryDim: 8, scaling: null };
    expect(ropeOf({ rope_theta: 500 })).toEqual({ theta: 500, ...unscaled });
    const parameters = { rope_type: "linear", factor: 4, rope_theta: 90 };
    const scaled = { theta: 90, rotaryDim: 8, scaling: { type: "linear", factor: 4 } };
    expect(ropeOf({ rope_theta: 500, rope_parameters: parameters })).toEqual(scaled);
    expect(ropeOf({ rope_scaling: { rope_type: "default", rope_theta: 7 } })).toMatchObject(unscaled);
    expect(() => ropeOf({ rope_scaling: parameters })).toThrow(
      "expected no rope_scaling, got one of type linear",
    );
  });

  test.each<[title: string, changes: Config, message: string]>([
    ["other scores", { expert_selection_fn: "relu" }, "expert_selection_fn"],
    [
      "another way to join",
      { shared_expert_combination_strategy: "max" },
      "shared_expert_combination_strategy",
    ],
    [
      "a list without some layers",
      { layer_types: ["full_attention"] },
      "layer_types with an entry for every layer",
    ],
    ["FFNs of some layers", { mlp_layer_types: ["dense"] }, "mlp_layer_types with an entry for every layer"],
    ["windows without a length", { sliding_window: null }, "expected a length as sliding_window, got null"],
    [
      "more experts of a token than there are",
      { num_experts_per_tok: 5 },
      "num_experts_per_tok of at most 4",
    ],
  ])("is refused with %s", (_, changes, message) => {
    expect(() => read({ ...NORTH, ...changes })).toThrow(message);
  });
});
