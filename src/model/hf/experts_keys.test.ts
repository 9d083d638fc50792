/** Keys of classes with experts, read and written. */
import { describe, expect, test } from "vitest";
import { tinySpec } from "../../../test/tiny_model.ts";
import type { JsonObject } from "../../io/files/json.ts";
import { PROJECTIONS } from "../projections.ts";
import type { LayerSpec, ModelSpec } from "../spec.ts";
import { readConfig } from "./config.ts";
import { writeConfig } from "./form.ts";
import { plainConfig } from "./plain_config.ts";

const CONFIG = {
  ...{ hidden_size: 8, intermediate_size: 12, num_hidden_layers: 2, vocab_size: 16 },
  ...{ num_attention_heads: 2, num_key_value_heads: 2, num_experts_per_tok: 2 },
};
const MIXTRAL = { ...CONFIG, model_type: "mixtral", num_local_experts: 4 };
const MINIMAX = { ...MIXTRAL, model_type: "minimax_m2", head_dim: 4 };
const QWEN3 = {
  ...{ ...CONFIG, model_type: "qwen3_moe", num_hidden_layers: 4, head_dim: 4 },
  ...{ num_experts: 4, moe_intermediate_size: 3 },
};

const QWEN35 = { ...QWEN3, model_type: "qwen3_5_moe_text", head_dim: 8 };

const GLM = {
  ...{ ...CONFIG, model_type: "glm4_moe", num_hidden_layers: 4, head_dim: 4 },
  ...{ n_routed_experts: 4, moe_intermediate_size: 3 },
};
const DOTS = { ...GLM, model_type: "dots1" };
const SOLAR = { ...GLM, model_type: "solar_open" };
const EXAONE = { ...QWEN3, model_type: "exaone_moe" };
const LFM2 = {
  ...CONFIG,
  model_type: "lfm2_moe",
  num_hidden_layers: 4,
  num_experts: 4,
  moe_intermediate_size: 3,
};
const ERNIE = {
  ...{ ...CONFIG, model_type: "ernie4_5_moe", num_hidden_layers: 6 },
  ...{ moe_num_experts: 4, moe_k: 2, num_experts_per_tok: null, moe_intermediate_size: 3 },
};

const read = (config: JsonObject): ModelSpec => readConfig(config, "config.json");
const expertsOf = (config: JsonObject): readonly (LayerSpec["experts"] | null)[] =>
  read(config).layers.map(({ experts = null }) => experts);

describe("experts", () => {
  test("are in every layer, with the neurons of all of them, and their numbers divided as in the class", () => {
    expect(read(MIXTRAL).layers.map(({ neurons }) => neurons)).toEqual([48, 48]);
    const two = { count: 4, active: 2 };
    expect(expertsOf(MIXTRAL)[0]).toEqual({ ...two, normalised: true });
    expect(expertsOf({ ...MIXTRAL, norm_topk_prob: false })[0]).toEqual({ ...two, normalised: true });
    const olmoe = { ...CONFIG, model_type: "olmoe", num_experts: 4 };
    expect(expertsOf(olmoe)[0]).toEqual({ ...two, normalised: false });
    expect(expertsOf({ ...olmoe, norm_topk_prob: true })[0]).toEqual({ ...two, normalised: true });
    const flex = { ...olmoe, model_type: "flex_olmo" };
    expect(expertsOf(flex)[0]).toEqual({ ...two, normalised: false });
    expect(read(writeConfig(read({ ...flex, norm_topk_prob: true }), "float32"))).toEqual(
      read({ ...flex, norm_topk_prob: true }),
    );
  });

  test("are as many as the class assumes where the file does not say", () => {
    const { num_local_experts: _, num_experts_per_tok: __, ...silent } = MIXTRAL;
    expect(expertsOf(silent)[0]).toEqual({ count: 8, active: 2, normalised: true });
    expect(expertsOf({ ...QWEN3, shared_expert_intermediate_size: 0 })).toEqual(expertsOf(QWEN3));
  });

  test("are not in layers that Qwen3 MoE leaves dense", () => {
    const widths = (config: JsonObject): readonly number[] =>
      read(config).layers.map(({ neurons }) => neurons);
    expect(widths(QWEN3)).toEqual([12, 12, 12, 12]);
    expect(expertsOf({ ...QWEN3, decoder_sparse_step: 2 }).map((experts) => experts !== null)).toEqual([
      ...[false, true, false, true],
    ]);
    const some = { ...QWEN3, mlp_only_layers: [1], moe_intermediate_size: 5 };
    expect(widths(some)).toEqual([20, 12, 20, 20]);
    expect(expertsOf({ ...some, mlp_only_layers: null }).includes(null)).toBe(false);
  });

  test("may be counted under either key, but not as two numbers", () => {
    const { num_local_experts: count, ...rest } = MIXTRAL;
    expect(expertsOf({ ...rest, num_experts: count })).toEqual(expertsOf(MIXTRAL));
    expect(expertsOf({ ...MIXTRAL, num_experts: count })).toEqual(expertsOf(MIXTRAL));
    expect(() => read({ ...MIXTRAL, num_experts: 5 })).toThrow(
      "expected num_local_experts and num_experts alike, got 4 and 5",
    );
    const { moe_num_experts, moe_k, ...others } = ERNIE;
    const ernie = { ...others, num_experts: moe_num_experts, num_experts_per_tok: moe_k };
    expect(expertsOf(ernie)).toEqual(expertsOf(ERNIE));
    expect(() => read({ ...ernie, moe_k: 3 })).toThrow(
      "expected moe_k and num_experts_per_tok alike, got 3 and 2",
    );
    expect(() => read({ ...GLM, num_local_experts: 8 })).toThrow(
      "expected n_routed_experts and num_local_experts alike, got 4 and 8",
    );
    // The class of Granite MoE knows one key.
    expect(expertsOf({ ...MIXTRAL, model_type: "granitemoe", num_experts: 5 })[0]?.count).toBe(4);
  });

  test("are refused if a token would have more than there are", () => {
    expect(() => read({ ...MIXTRAL, num_experts_per_tok: 5 })).toThrow(
      "expected num_experts_per_tok of at most 4, the number of experts, got 5",
    );
  });

  test("have windows in Qwen3 MoE where the file says that they are used, and so it is written", () => {
    const windowsOf = (config: JsonObject): readonly unknown[] =>
      read(config).layers.map(({ window }) => window);
    const config = { ...QWEN3, sliding_window: 7 };
    expect(windowsOf(config)).toEqual([null, null, null, null]);
    expect(windowsOf({ ...config, use_sliding_window: false })).toEqual([null, null, null, null]);
    const used = { ...config, use_sliding_window: true };
    expect(windowsOf(used)).toEqual([7, 7, 7, 7]);
    expect(writeConfig(read(used), "float32")).toMatchObject({ sliding_window: 7, use_sliding_window: true });
  });

  test("are computed one by one where their widths are none that grouped products take", () => {
    const written = (neurons: number): unknown => {
      const experts = { count: 4, active: 2, normalised: true };
      const spec = tinySpec({ family: "mixtral", layers: [{ neurons: 4 * neurons, experts }] });
      return writeConfig(spec, "bfloat16").experts_implementation;
    };
    expect(written(16)).toBeUndefined();
    expect(written(12)).toBe("eager");
  });

  test("have a shared one beside them in Qwen2 MoE and Qwen 3.5 MoE, as wide as the file or the class says", () => {
    const qwen2 = { ...QWEN3, model_type: "qwen2_moe", shared_expert_intermediate_size: 7 };
    const own = { count: 4, active: 2, normalised: false };
    expect(expertsOf(qwen2)[0]).toEqual({ ...own, shared: 7 });
    expect(expertsOf({ ...qwen2, norm_topk_prob: true })[0]).toEqual({ ...own, normalised: true, shared: 7 });
    expect(expertsOf({ ...qwen2, shared_expert_intermediate_size: null })[0]?.shared).toBe(5632);
    expect(expertsOf({ ...QWEN35, norm_topk_prob: false })).toEqual(
      Array(4).fill({ ...own, normalised: true, shared: 512 }),
    );
    // Some files of Qwen3 MoE have the key.
    expect(expertsOf({ ...QWEN3, shared_expert_intermediate_size: 0 })[0]).toEqual(own);
    expect(() => read({ ...qwen2, shared_expert_intermediate_size: 0 })).toThrow(
      expect.objectContaining({ code: "BAD_CONFIG" }),
    );
  });

  test("are in all layers of a Qwen 3.5 MoE, with linear attention or without, and of one width", () => {
    const { layers } = read({
      ...QWEN35,
      mlp_only_layers: [0],
      decoder_sparse_step: 2,
      intermediate_size: 99,
    });
    expect(layers.map(({ mixer }) => mixer !== undefined)).toEqual([true, true, true, false]);
    expect(layers.map(({ neurons }) => neurons)).toEqual([12, 12, 12, 12]);
    const { moe_intermediate_size: _, ...silent } = QWEN35;
    expect(read(silent).layers[0]!.neurons).toBe(4 * 512);
    const text = { model_type: "qwen3_5_moe", vision_config: {}, text_config: QWEN35 };
    expect(read(plainConfig(text) as JsonObject).layers).toEqual(read(QWEN35).layers);
  });

  test("are refused in a Qwen2 MoE that has windows, or no biases on queries", () => {
    const qwen2 = { ...QWEN3, model_type: "qwen2_moe" };
    const full = Array(4).fill("full_attention");
    const unused = { sliding_window: 0, use_sliding_window: false, layer_types: full };
    expect(read({ ...qwen2, ...unused })).toEqual(read(qwen2));
    expect(read({ ...qwen2, ...unused, sliding_window: 32_768 })).toEqual(read(qwen2));
    for (const [config, message] of [
      [{ use_sliding_window: true }, "expected use_sliding_window false, got true"],
      [
        { ...unused, sliding_window: 7, layer_types: full.with(1, "sliding_attention") },
        "gives layer 1 a window",
      ],
      [{ qkv_bias: false }, "expected qkv_bias true, got false"],
    ] as const)
      expect(() => read({ ...qwen2, ...config })).toThrow(message);
  });

  test.each(["qwen2_moe", "qwen3_moe"])(
    "of %s may be in no layer at all, and so it is written",
    (model_type) => {
      const spec = read({ ...QWEN3, model_type, mlp_only_layers: [0, 1, 2, 3] });
      expect(spec.layers.every(({ experts, neurons }) => experts === undefined && neurons === 12)).toBe(true);
      expect(readConfig(writeConfig(spec, "float32"), "config.json")).toEqual(spec);
    },
  );

  test.each(["qwen2_moe", "qwen3_5_moe_text"])("of %s are written so that they come back", (model_type) => {
    const spec = read({ ...QWEN35, model_type, shared_expert_intermediate_size: 7 });
    const written = writeConfig(spec, "float32");
    expect(written).toMatchObject({ shared_expert_intermediate_size: 7, moe_intermediate_size: 3 });
    expect(readConfig(written, "config.json")).toEqual(spec);
  });

  test("are written so that they come back", () => {
    const spec = read({ ...QWEN3, mlp_only_layers: [0, 2], norm_topk_prob: true });
    const written = writeConfig(spec, "float32");
    expect(written).toMatchObject({ num_experts: 4, moe_intermediate_size: 3, mlp_only_layers: [0, 2] });
    expect(readConfig(written as JsonObject, "config.json")).toEqual(spec);
  });
});

describe("experts of Granite", () => {
  const GRANITE = { ...MIXTRAL, model_type: "granitemoeshared" };
  const usual = { count: 4, active: 2, normalised: true };

  test("have a shared one beside them where the file gives its width, which is written as it is", () => {
    expect(expertsOf(GRANITE)[0]).toEqual(usual);
    for (const shared_intermediate_size of [0, 7]) {
      const spec = read({ ...GRANITE, shared_intermediate_size });
      expect(spec.layers[0]?.experts).toEqual(
        shared_intermediate_size === 0 ? usual : { ...usual, shared: 7, sharedUngated: true },
      );
      const written = writeConfig(spec, "float32");
      expect(written).toMatchObject({ model_type: "granitemoeshared", shared_intermediate_size });
      expect(read(written)).toEqual(spec);
    }
  });
});

test("a shared expert wider than any width is refused", () => {
  const wide = { ...ERNIE, moe_intermediate_size: 2 ** 31, moe_num_shared_experts: 2 };
  expect(() => read(wide)).toThrow(
    expect.objectContaining({
      code: "BAD_CONFIG",
      message: expect.stringContaining("got 2 times 2147483648"),
    }),
  );
});

describe("experts of gpt-oss", () => {
  const GPT_OSS = {
    ...{ ...CONFIG, model_type: "gpt_oss", num_local_experts: 4, head_dim: 4, hidden_act: "silu" },
    ...{ num_hidden_layers: 4, swiglu_limit: 7, experts_per_token: 2 },
  };

  test("have biases, as their router has, and clamped gates", () => {
    const spec = read(GPT_OSS);
    expect(spec).toMatchObject({ attentionSinks: true, activation: "clamped_swiglu", gated: true });
    // The class does not look at the name.
    expect(read({ ...GPT_OSS, hidden_act: "gelu" })).toEqual(spec);
    expect(expertsOf(GPT_OSS)).toEqual(
      Array(4).fill({ count: 4, active: 2, normalised: true, biased: true }),
    );
    expect(spec.layers.map(({ biases }) => biases)).toEqual(Array(4).fill(PROJECTIONS));
    expect(read({ ...GPT_OSS, attention_bias: false }).layers[0]?.biases).toEqual(PROJECTIONS.slice(4));
  });

  test("are, where the file says nothing, in layers with windows in turn, stretched with exact bounds", () => {
    const { layers } = read(GPT_OSS);
    expect(layers.map(({ window }) => window)).toEqual([128, null, 128, null]);
    expect(layers[0]?.rope).toMatchObject({
      theta: 150_000,
      scaling: { type: "yarn", factor: 32, originalMaxPositions: 4096, truncate: false },
    });
  });

  test("are stretched alike with another base, and refused where versions of transformers disagree", () => {
    const { scaling } = read(GPT_OSS).layers[0]!.rope!;
    expect(read({ ...GPT_OSS, rope_theta: 7 }).layers[0]!.rope).toMatchObject({ theta: 7, scaling });
    for (const keys of [{ rope_scaling: null }, { rope_scaling: null, rope_theta: 7 }])
      expect(() => read({ ...GPT_OSS, ...keys })).toThrow(
        expect.objectContaining({ code: "UNSUPPORTED", message: expect.stringContaining("rope_scaling") }),
      );
  });

  test("are refused with other clamps and slopes", () => {
    for (const [key, value] of [
      ["swiglu_limit", 5],
      ["swiglu_alpha", 1],
    ])
      expect(() => read({ ...GPT_OSS, [key as string]: value })).toThrow(
        expect.objectContaining({ code: "UNSUPPORTED", message: expect.stringContaining(`expected ${key}`) }),
      );
  });

  test.each<[string, JsonObject]>([
    ["as it was", GPT_OSS],
    ["with biases in experts alone", { ...GPT_OSS, attention_bias: false }],
    ["without windows", { ...GPT_OSS, layer_types: Array(4).fill("full_attention") }],
    ["of narrow experts", { ...GPT_OSS, intermediate_size: 3 }],
  ])("are written so that they come back: %s", (_, config) => {
    const spec = read(config);
    const written = writeConfig(spec, "bfloat16");
    expect(written).toMatchObject({
      ...{ model_type: "gpt_oss", hidden_act: "silu" },
      // vLLM's class wants all settings of YaRN.
      rope_parameters: { factor: 32, beta_fast: 32, beta_slow: 1, truncate: false },
    });
    expect(written.quantization_config).toBeUndefined();
    expect(read(written)).toEqual(spec);
  });
});

describe("experts of HunYuan", () => {
  const HUNYUAN = { ...CONFIG, model_type: "hunyuan_v1_moe", num_experts: 4, moe_topk: 2, head_dim: 4 };
  const experts = { count: 4, active: 2, normalised: true, shared: 12, sharedUngated: true } as const;

  test("are in all layers, beside one as wide, and as many as the file says for all layers or for each", () => {
    const { num_experts_per_tok: _, ...config } = HUNYUAN;
    const lists = { moe_topk: [2, 2], num_shared_expert: [1, 1], moe_intermediate_size: [12, 12] };
    for (const keys of [{}, lists, { num_shared_expert: 1 }]) {
      const spec = read({ ...config, ...keys });
      expect(spec.layers.map((layer) => [layer.neurons, layer.experts])).toEqual([
        [48, experts],
        [48, experts],
      ]);
      const written = writeConfig(spec, "float32");
      expect(written).toMatchObject({ model_type: "hunyuan_v1_moe", num_experts: 4, moe_topk: 2 });
      expect(written).not.toHaveProperty("shared_expert_intermediate_size");
      expect(read(written)).toEqual(spec);
    }
  });

  test("are narrower than the shared one in our class alone", () => {
    const spec = read(HUNYUAN);
    const narrow = { ...spec, layers: spec.layers.map((layer) => ({ ...layer, neurons: 24 })) };
    const written = writeConfig(narrow, "float32");
    expect(written).toMatchObject({
      ...{ model_type: "gprune_hunyuan_v1_moe", intermediate_size: 6 },
      shared_expert_intermediate_size: 12,
    });
    expect(read(written)).toEqual(narrow);
    expect(expertsOf({ ...HUNYUAN, shared_expert_intermediate_size: 7 })[0]?.shared).toBe(12);
  });

  test("are refused where layers have other numbers, or more shared ones", () => {
    const unsupported = (message: string): unknown =>
      expect.objectContaining({ code: "UNSUPPORTED", message });
    expect(() => read({ ...HUNYUAN, moe_topk: [2, 1], num_experts_per_tok: null })).toThrow(
      unsupported("config.json: expected one moe_topk in all layers, got 2 and 1"),
    );
    expect(() => read({ ...HUNYUAN, num_shared_expert: [2, 2] })).toThrow(
      unsupported("config.json: expected num_shared_expert 1, got 2"),
    );
    const { num_experts_per_tok: _, ...config } = HUNYUAN;
    expect(() => read({ ...config, moe_topk: [2] })).toThrow(
      expect.objectContaining({
        code: "BAD_CONFIG",
        message: "config.json: expected moe_topk with an entry for every layer, got 1",
      }),
    );
    expect(expertsOf({ ...config, moe_topk: [2, 2, 1] }).map((each) => each?.active)).toEqual([2, 2]);
    for (const moe_topk of [[], "2", [2.5]])
      expect(() => read({ ...HUNYUAN, moe_topk })).toThrow(expect.objectContaining({ code: "BAD_CONFIG" }));
  });
});

describe("experts that are picked by corrected scores", () => {
  const own = { count: 4, active: 2, normalised: true, corrected: true } as const;
  const sparse = (config: JsonObject): readonly number[] =>
    expertsOf(config).flatMap((experts, layer) => (experts === null ? [] : [layer]));

  test("are those of GLM-4.5: sigmoids, with a factor, in all layers but the first ones", () => {
    const usual = { ...own, sigmoid: true, divisor: { plus: 1e-20 }, shared: 3, sharedUngated: true };
    expect(expertsOf(GLM)).toEqual([null, ...Array(3).fill(usual)]);
    const given = {
      ...{ first_k_dense_replace: 3, routed_scaling_factor: 2.5, norm_topk_prob: false },
      ...{ n_shared_experts: 2, n_group: 1, topk_group: 1 },
    };
    expect(expertsOf({ ...GLM, ...given })).toEqual([
      ...[null, null, null],
      { ...usual, normalised: false, scale: 2.5, shared: 6 },
    ]);
    expect(read(GLM).layers.map(({ neurons }) => neurons)).toEqual([12, 12, 12, 12]);
    const { n_routed_experts: _, num_experts_per_tok: __, moe_intermediate_size: ___, ...silent } = GLM;
    expect(expertsOf(silent)[1]).toEqual({ ...usual, count: 128, active: 8, shared: 1408 });
    expect(expertsOf({ ...GLM, n_shared_experts: 0 })[1]?.shared).toBeUndefined();
  });

  test.each([GLM, DOTS, SOLAR, EXAONE])(
    "are in groups in $model_type where the file has more than can be picked from",
    (config) => {
      const grouped = { ...config, n_group: 2, topk_group: 1 };
      expect(expertsOf(grouped)[1]?.groups).toEqual({ count: 2, active: 1, best: 2 });
      expect(writeConfig(read(grouped), "float32")).toMatchObject({ n_group: 2, topk_group: 1 });
      expect(expertsOf({ ...config, n_group: 2, topk_group: 2 })[1]?.groups).toBeUndefined();
      for (const [groups, active] of [
        [3, 1],
        [2, 3],
        [4, 2],
      ])
        expect(() => read({ ...config, n_group: groups, topk_group: active })).toThrow(
          expect.objectContaining({
            code: "BAD_CONFIG",
            message: `config.json: expected n_group and topk_group that fit 2 of 4 experts, got ${groups} and ${active}`,
          }),
        );
    },
  );

  test("are those of GLM-4.5 in dots.llm1, Solar Open and K-EXAONE, with the values of their classes", () => {
    const usual = { ...own, sigmoid: true, divisor: { plus: 1e-20 }, sharedUngated: true };
    expect(expertsOf(DOTS)).toEqual(Array(4).fill({ ...usual, normalised: false, shared: 6 }));
    expect(
      expertsOf({ ...DOTS, first_k_dense_replace: 2, n_shared_experts: 1, norm_topk_prob: true }),
    ).toEqual([...[null, null], ...Array(2).fill({ ...usual, shared: 3 })]);
    expect(expertsOf({ ...SOLAR, routed_scaling_factor: 2 })).toEqual(
      Array(4).fill({ ...usual, shared: 3, scale: 2 }),
    );
    const { intermediate_size: _, moe_intermediate_size: __, ...silent } = SOLAR;
    expect(read(silent).layers[0]?.neurons).toBe(4 * 1280);
    expect(expertsOf(EXAONE)).toEqual([null, ...Array(3).fill({ ...usual, shared: 3, scale: 2.5 })]);
    expect(expertsOf({ ...EXAONE, routed_scaling_factor: 1, num_shared_experts: 2 })[1]).toEqual({
      ...usual,
      shared: 6,
    });
  });

  test("are in the layers of a list in K-EXAONE, or in all but the first ones", () => {
    const types = (...names: readonly string[]): JsonObject => ({ ...EXAONE, mlp_layer_types: names });
    expect(sparse({ ...EXAONE, first_k_dense_replace: 2, mlp_layer_types: null })).toEqual([2, 3]);
    expect(sparse({ ...types("sparse", "dense", "sparse", "dense"), first_k_dense_replace: 2 })).toEqual([
      0, 2,
    ]);
    expect(() => read(types("sparse", "dense"))).toThrow(
      expect.objectContaining({
        code: "BAD_CONFIG",
        message: "config.json: expected mlp_layer_types with an entry for every layer, got 2",
      }),
    );
    expect(() => read(types("sparse", "dense", "sparse", "some"))).toThrow(
      expect.objectContaining({ code: "BAD_CONFIG" }),
    );
    expect(writeConfig(read(types("dense", "dense", "sparse", "sparse")), "float32")).toMatchObject({
      ...{ first_k_dense_replace: 2, mlp_layer_types: ["dense", "dense", "sparse", "sparse"] },
      ...{ num_experts: 4, num_shared_experts: 1, routed_scaling_factor: 2.5 },
    });
  });

  test("are beside windows in the last layers of dots.llm1, unless layer_types names others", () => {
    const windows = (config: JsonObject): readonly unknown[] =>
      read({ ...DOTS, ...config }).layers.map(({ window }) => window);
    expect(windows({})).toEqual([null, null, null, null]);
    expect(windows({ max_window_layers: 3 })).toEqual([null, null, null, 4096]);
    expect(windows({ max_window_layers: 1, sliding_window: null })).toEqual([null, null, null, null]);
    const layer_types = ["sliding_attention", ...Array(3).fill("full_attention")];
    expect(windows({ max_window_layers: 2, sliding_window: 8, layer_types })).toEqual([8, null, null, null]);
  });

  test("are those of MiniMax-M2: sigmoids in all layers, beside heads of which some channels turn", () => {
    const usual = { ...own, sigmoid: true };
    expect(expertsOf(MINIMAX)).toEqual([usual, usual]);
    expect(read(MINIMAX).layers.map(({ neurons }) => neurons)).toEqual([48, 48]);
    const turned = (config: JsonObject): readonly unknown[] =>
      read({ ...MINIMAX, ...config }).layers.map(({ rope }) => rope?.rotaryDim);
    expect(turned({})).toEqual([4, 4]);
    expect(turned({ rotary_dim: 2 })).toEqual([2, 2]);
    expect(turned({ rotary_dim: null, partial_rotary_factor: 0.5 })).toEqual([2, 2]);
    // Heads of the class's own size.
    const { head_dim: _, ...silent } = MINIMAX;
    expect(read({ ...silent, rotary_dim: 64 }).layers[0]?.rope?.rotaryDim).toBe(64);
    // Parameters count, whatever is beside them.
    expect(turned({ rotary_dim: 4, rope_parameters: { partial_rotary_factor: 0.5 } })).toEqual([2, 2]);
    expect(writeConfig(read({ ...MINIMAX, rotary_dim: 2 }), "float32")).toMatchObject({
      ...{ rotary_dim: 2, scoring_func: "sigmoid", use_routing_bias: true },
      rope_parameters: { partial_rotary_factor: 0.5 },
    });
    for (const rotary_dim of [0, 3])
      expect(() => read({ ...MINIMAX, rotary_dim })).toThrow(expect.objectContaining({ code: "BAD_CONFIG" }));
    expect(() => read({ ...MINIMAX, rotary_dim: 6 })).toThrow(
      "rotary_dim of at most 4, the head size, got 6",
    );
  });

  test("are those of LFM2: sigmoids, corrected unless the file says otherwise, beside convolutions too", () => {
    const usual = { ...own, sigmoid: true, divisor: { plus: 1e-6 } };
    expect(expertsOf(LFM2)).toEqual([null, null, usual, usual]);
    const { corrected: _, ...plain } = usual;
    const layer_types = ["conv", "full_attention", "full_attention", "conv"];
    const given = { num_dense_layers: 0, use_expert_bias: false, routed_scaling_factor: 1, layer_types };
    const { layers } = read({ ...LFM2, ...given });
    expect(layers.map(({ experts }) => experts)).toEqual(Array(4).fill(plain));
    expect(layers.map(({ mixer }) => mixer?.type)).toEqual([
      ...["convolution", undefined, undefined, "convolution"],
    ]);
    // Widths are as they stand, unlike those of the class without experts.
    expect(read(LFM2).layers.map(({ neurons }) => neurons)).toEqual([12, 12, 12, 12]);
  });

  test("are those of ERNIE 4.5: softmax, in the layers of an interval, with two shared experts that are one", () => {
    const usual = { ...own, divisor: { least: 1e-12 }, shared: 6, sharedUngated: true };
    expect(expertsOf(ERNIE)).toEqual([null, ...Array(5).fill(usual)]);
    expect(expertsOf({ ...ERNIE, moe_norm_min: 0.5, moe_num_shared_experts: 1 })[1]).toEqual({
      ...{ ...usual, divisor: { least: 0.5 } },
      shared: 3,
    });
    const { shared: _, sharedUngated: __, ...alone } = usual;
    expect(expertsOf({ ...ERNIE, moe_num_shared_experts: 0 })[1]).toEqual(alone);
    const interval = (start: number, end: number, step: number): readonly number[] =>
      sparse({
        ...ERNIE,
        moe_layer_start_index: start,
        moe_layer_end_index: end,
        moe_layer_interval: step,
      });
    expect(interval(0, -1, 1)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(interval(2, 4, 1)).toEqual([2, 3, 4]);
    expect(interval(0, -1, 2)).toEqual([1, 3, 5]);
    expect(interval(2, 5, 3)).toEqual([2, 5]);
    expect(interval(6, -1, 1)).toEqual([]);
    expect(() => read({ ...ERNIE, use_bias: true })).toThrow("expected use_bias false, got true");
  });

  test.each<[string, JsonObject]>([
    ["GLM-4.5", { ...GLM, routed_scaling_factor: 2.5, n_shared_experts: 2 }],
    ["GLM-4.5 without any", { ...GLM, first_k_dense_replace: 4 }],
    ["GLM-4.5 without a shared one", { ...GLM, n_shared_experts: 0 }],
    ["MiniMax-M2", { ...MINIMAX, rotary_dim: 2, num_experts_per_tok: 3 }],
    ["dots.llm1", { ...DOTS, first_k_dense_replace: 1, max_window_layers: 2, sliding_window: 8 }],
    ["Solar Open", { ...SOLAR, routed_scaling_factor: 2.5, n_shared_experts: 2 }],
    ["K-EXAONE", { ...EXAONE, routed_scaling_factor: 1, sliding_window: 8 }],
    ["K-EXAONE with few experts", { ...EXAONE, mlp_layer_types: ["sparse", "dense", "dense", "dense"] }],
    ["LFM2", { ...LFM2, num_dense_layers: 1, use_expert_bias: false }],
    ["ERNIE 4.5", { ...ERNIE, moe_norm_min: 0.25 }],
    ["ERNIE 4.5 in every second layer", { ...ERNIE, moe_layer_interval: 2 }],
    ["ERNIE 4.5 in one layer", { ...ERNIE, moe_layer_start_index: 3, moe_layer_end_index: 3 }],
    ["ERNIE 4.5 in no layer", { ...ERNIE, moe_layer_start_index: 6, moe_num_shared_experts: 1 }],
  ])("are written so that they come back: %s", (_, config) => {
    const spec = read(config);
    const written = writeConfig(spec, "float32");
    expect(written.auto_map).toBeUndefined();
    expect(read(written)).toEqual(spec);
  });

  test.each([
    [GLM, "n_shared_experts"],
    [ERNIE, "moe_num_shared_experts"],
  ])("are as wide as a whole part of the shared one in stock classes, and else in ours", (config, key) => {
    const spec = read({ ...config, moe_intermediate_size: 6, [key]: 1 });
    const narrowed = (width: number): ModelSpec => ({
      ...spec,
      layers: spec.layers.map((layer) => (layer.experts ? { ...layer, neurons: 4 * width } : layer)),
    });
    const [third, other] = [2, 4].map((width) => writeConfig(narrowed(width), "float32"));
    expect(third).toMatchObject({ model_type: config.model_type, [key]: 3, moe_intermediate_size: 2 });
    expect(third).not.toHaveProperty("shared_expert_intermediate_size");
    expect(other).toMatchObject({
      ...{ model_type: `gprune_${config.model_type}`, moe_intermediate_size: 4 },
      ...{ [key]: 1, shared_expert_intermediate_size: 6 },
    });
    expect(read(third!)).toEqual(narrowed(2));
    expect(read(other!)).toEqual(narrowed(4));
    // Stock classes do not read that key.
    const stock = { ...config, [key]: 1, shared_expert_intermediate_size: 7 };
    expect(expertsOf(stock).at(-1)?.shared).toBe(3);
  });

  test("are refused for values out of range", () => {
    for (const config of [
      { ...GLM, first_k_dense_replace: -1 },
      { ...GLM, n_routed_experts: 0 },
      { ...GLM, routed_scaling_factor: 0 },
      { ...LFM2, num_dense_layers: "2" },
      { ...LFM2, use_expert_bias: 1 },
      { ...ERNIE, moe_layer_interval: 0 },
      { ...ERNIE, moe_layer_end_index: -2 },
      { ...ERNIE, moe_norm_min: 0 },
      { ...ERNIE, moe_num_shared_experts: -1 },
    ])
      expect(() => read(config), JSON.stringify(config)).toThrow(
        expect.objectContaining({ code: "BAD_CONFIG" }),
      );
    expect(() => read({ ...ERNIE, moe_k: 5 })).toThrow("expected moe_k of at most 4");
  });
});
