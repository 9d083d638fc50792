/** Tiny mixtures of experts as GGUF files have them; gguf_models.ts has all other models. */
import { yarnAttentionFactor } from "../src/model/rope_spec.ts";
import { queryHeads } from "../src/model/spec.ts";
import { type BuiltValue, bool, bools, f32, i32s, text, u32 } from "./gguf_builder.ts";
import { deltaEntries, gemma4Case } from "./gguf_entries.ts";
import type { Case } from "./gguf_layouts.ts";
import { TINY_FAMILIES } from "./tiny_families.ts";
import { type TinyModelOptions, tinyMamba, tinyMamba2, tinyModel } from "./tiny_model.ts";

/** The sizes of Mamba 2 with four value heads of four channels. */
function mambaEntries(
  keyHeads: number,
  { architecture = "granitehybrid", inner = 16 } = {},
): NonNullable<Case["extra"]> {
  return [
    [`${architecture}.ssm.conv_kernel`, u32(3)],
    [`${architecture}.ssm.group_count`, u32(keyHeads)],
    [`${architecture}.ssm.inner_size`, u32(inner)],
    [`${architecture}.ssm.state_size`, u32(8)],
    [`${architecture}.ssm.time_step_rank`, u32(4)],
  ];
}

function graniteFactors(architecture: string): NonNullable<Case["extra"]> {
  return [
    [`${architecture}.attention.scale`, f32(0.125)],
    [`${architecture}.embedding_scale`, f32(12)],
    [`${architecture}.residual_scale`, f32(0.4)],
    [`${architecture}.logit_scale`, f32(3)],
  ];
}
const GRANITE_FACTORS = graniteFactors("granitehybrid");
const GRANITE_MOE_FACTORS = graniteFactors("granitemoe");

/** Beside FFNs of five neurons. */
const GEMMA4_EXPERTS: Case = {
  ...gemma4Case("gemma4 with experts", {
    embedding_length_per_layer_input: u32(0),
    feed_forward_length: u32(5),
    expert_feed_forward_length: u32(4),
  }),
  renamed: { ffn_gate_shexp: "ffn_gate", ffn_up_shexp: "ffn_up", ffn_down_shexp: "ffn_down" },
};

/** Of a model of an architecture like GLM-4.5's, with one layer without experts. */
function sigmoidEntries(architecture: string): NonNullable<Case["extra"]> {
  const entries: Readonly<Record<string, BuiltValue>> = {
    feed_forward_length: u32(6),
    expert_feed_forward_length: u32(4),
    leading_dense_block_count: u32(1),
    expert_gating_func: u32(2),
    expert_weights_norm: bool(true),
    expert_weights_scale: f32(2.5),
  };
  return Object.entries(entries).map(([key, value]) => [`${architecture}.${key}`, value]);
}

/** As llama.cpp's conversion writes it; the tiny model's YaRN has an attention factor of 1.25 in place of its own. */
function lagunaCase(options: TinyModelOptions): Case {
  const model = tinyModel(options);
  const { layers } = model.spec;
  const entries: Readonly<Record<string, BuiltValue>> = {
    "attention.head_count": i32s(layers.map(queryHeads)),
    expert_shared_feed_forward_length: u32(5),
    "rope.dimension_count": u32(2),
    "rope.scaling.type": text("yarn"),
    "rope.scaling.factor": f32(4),
    "rope.scaling.original_context_length": u32(16),
    "rope.scaling.attn_factor": f32(1.25 / yarnAttentionFactor(4)),
    "rope.scaling.yarn_beta_fast": f32(32),
    ...(layers.some(({ window }) => window !== null) && {
      "attention.sliding_window": u32(16),
      "rope.freq_base_swa": f32(500),
      "rope.dimension_count_swa": u32(4),
    }),
  };
  const own = Object.entries(entries).map(([key, value]) => [`laguna.${key}`, value] as const);
  return { architecture: "laguna", model, extra: [...sigmoidEntries("laguna"), ...own] };
}

/** As llama.cpp's conversion writes it, with the width of the shared expert. */
function cohere2MoeCase(options: TinyModelOptions, others: Readonly<Record<string, BuiltValue>> = {}): Case {
  const model = tinyModel(options);
  const { layers } = model.spec;
  const entries: Readonly<Record<string, BuiltValue>> = {
    logit_scale: f32(0.25),
    "attention.sliding_window": u32(16),
    "attention.sliding_window_pattern": bools(layers.map(({ window }) => window !== null)),
    feed_forward_length: u32(6),
    expert_feed_forward_length: u32(4),
    expert_shared_count: u32(2),
    expert_shared_feed_forward_length: u32(5),
    leading_dense_block_count: u32(1),
    expert_gating_func: u32(2),
    expert_weights_norm: bool(false),
    ...others,
  };
  const extra = Object.entries(entries).map(([key, value]) => [`cohere2moe.${key}`, value] as const);
  return { architecture: "cohere2moe", permute: true, model, extra };
}

/** Of a GLM-4.5 with one layer without experts. */
function glm4MoeEntries(others: NonNullable<Case["extra"]>): NonNullable<Case["extra"]> {
  return [
    ["glm4moe.rope.dimension_count", u32(2)],
    ["glm4moe.feed_forward_length", u32(6)],
    ["glm4moe.expert_feed_forward_length", u32(4)],
    ["glm4moe.expert_shared_count", u32(1)],
    ["glm4moe.leading_dense_block_count", u32(1)],
    ...others,
  ];
}

/** By name. */
export const EXPERT_CASES: Readonly<Record<string, Case>> = {
  "gemma4 with experts": GEMMA4_EXPERTS,
  "gemma4 with two matrices of each expert in one": { ...GEMMA4_EXPERTS, joined: true },
  mixtral: { architecture: "llama", permute: true, model: tinyModel(TINY_FAMILIES.mixtral) },
  "mixtral with two matrices of each expert in one": {
    ...{ architecture: "llama", permute: true, model: tinyModel(TINY_FAMILIES.mixtral), joined: true },
  },
  "minimax-m2": {
    ...{ architecture: "minimax-m2", model: tinyModel(TINY_FAMILIES.minimax_m2) },
    extra: [
      ["minimax-m2.rope.dimension_count", u32(2)],
      ["minimax-m2.feed_forward_length", u32(4)],
      ["minimax-m2.expert_feed_forward_length", u32(4)],
      ["minimax-m2.expert_gating_func", u32(2)],
    ],
  },
  qwen2moe: {
    ...{ architecture: "qwen2moe", model: tinyModel(TINY_FAMILIES.qwen2_moe) },
    extra: [
      ["qwen2moe.feed_forward_length", u32(100)],
      ["qwen2moe.expert_feed_forward_length", u32(4)],
      ["qwen2moe.expert_shared_feed_forward_length", u32(5)],
    ],
  },
  "qwen2moe without a width of the shared expert, which has that of the FFN": {
    ...{ architecture: "qwen2moe", model: tinyModel(TINY_FAMILIES.qwen2_moe) },
    extra: [
      ["qwen2moe.feed_forward_length", u32(5)],
      ["qwen2moe.expert_feed_forward_length", u32(4)],
    ],
  },
  qwen3moe: {
    ...{ architecture: "qwen3moe", model: tinyModel(TINY_FAMILIES.qwen3_moe) },
    extra: [
      ["qwen3moe.feed_forward_length", u32(100)],
      ["qwen3moe.expert_feed_forward_length", u32(4)],
    ],
  },
  "qwen3moe without a width of experts, who share that of the FFN": {
    ...{ architecture: "qwen3moe", model: tinyModel(TINY_FAMILIES.qwen3_moe) },
    extra: [["qwen3moe.feed_forward_length", u32(8)]],
  },
  granitemoe: {
    ...{ architecture: "granitemoe", permute: true },
    model: tinyModel(TINY_FAMILIES.granitemoe),
    extra: GRANITE_MOE_FACTORS,
  },
  "granitemoe with a shared expert": {
    ...{ architecture: "granitemoe", permute: true },
    model: tinyModel(TINY_FAMILIES.granitemoeshared),
    extra: [...GRANITE_MOE_FACTORS, ["granitemoe.expert_shared_feed_forward_length", u32(5)]],
  },
  olmoe: { architecture: "olmoe", model: tinyModel(TINY_FAMILIES.olmoe) },
  lfm2_moe: {
    architecture: "lfm2moe",
    renamed: { output_norm: "token_embd_norm" },
    model: tinyModel(TINY_FAMILIES.lfm2_moe),
    extra: [
      ["lfm2moe.shortconv.l_cache", u32(3)],
      ["lfm2moe.feed_forward_length", u32(6)],
      ["lfm2moe.expert_feed_forward_length", u32(4)],
      ["lfm2moe.leading_dense_block_count", u32(1)],
      ["lfm2moe.expert_gating_func", u32(2)],
    ],
  },
  qwen3_5_moe: {
    architecture: "qwen35moe",
    renamed: { ffn_norm: "post_attention_norm" },
    model: tinyModel(TINY_FAMILIES.qwen3_5_moe),
    extra: [
      ...deltaEntries({ keyHeads: 2, valueHeads: 6, inner: 48 }, "qwen35moe"),
      ["qwen35moe.full_attention_interval", u32(2)],
      ["qwen35moe.expert_feed_forward_length", u32(4)],
      ["qwen35moe.expert_shared_feed_forward_length", u32(5)],
    ],
  },
  qwen3_next: {
    architecture: "qwen3next",
    renamed: { ffn_norm: "post_attention_norm" },
    grouped: true,
    model: tinyModel(TINY_FAMILIES.qwen3_next),
    extra: [
      ...deltaEntries({ keyHeads: 2, valueHeads: 6, inner: 48 }, "qwen3next"),
      ["qwen3next.full_attention_interval", u32(2)],
      ["qwen3next.expert_feed_forward_length", u32(4)],
      ["qwen3next.expert_shared_feed_forward_length", u32(5)],
    ],
  },
  nemotron_h: {
    architecture: "nemotron_h",
    model: tinyModel(TINY_FAMILIES.nemotron_h),
    extra: mambaEntries(2, { architecture: "nemotron_h", inner: 32 }),
  },
  "nemotron_h with experts": {
    architecture: "nemotron_h_moe",
    model: tinyModel(TINY_FAMILIES["nemotron_h with experts"]),
    extra: [
      ...mambaEntries(2, { architecture: "nemotron_h_moe", inner: 32 }),
      ["nemotron_h_moe.expert_feed_forward_length", u32(4)],
      ["nemotron_h_moe.expert_shared_feed_forward_length", u32(5)],
      ["nemotron_h_moe.expert_gating_func", u32(2)],
      ["nemotron_h_moe.expert_weights_norm", bool(true)],
      ["nemotron_h_moe.expert_weights_scale", f32(2.5)],
    ],
  },
  falcon_h1: {
    ...{ architecture: "falcon-h1", renamed: { "ffn_norm.weight": "ffn_norm" } },
    model: tinyModel({
      family: "falcon_h1",
      tiedEmbeddings: false,
      layers: [0, 1].map(() => ({
        biases: ["gate_proj", "up_proj", "down_proj"],
        beside: tinyMamba2({ keyHeads: 2, valueDim: 6, norm: "none", filterBiases: false }),
      })),
    }),
    extra: mambaEntries(2, { architecture: "falcon-h1", inner: 24 }),
  },
  "falcon_h1 with norms": {
    ...{ architecture: "falcon-h1", renamed: { "ffn_norm.weight": "ffn_norm" } },
    model: tinyModel(TINY_FAMILIES["falcon_h1 with norms"]),
    extra: mambaEntries(2, { architecture: "falcon-h1" }),
  },
  granitemoehybrid: {
    architecture: "granitehybrid",
    permute: true,
    model: tinyModel(TINY_FAMILIES.granitemoehybrid),
    extra: [...mambaEntries(2), ["granitehybrid.rope.scaling.finetuned", bool(false)], ...GRANITE_FACTORS],
  },
  "granitemoehybrid with experts": {
    ...{ architecture: "granitehybrid", permute: true },
    model: tinyModel(TINY_FAMILIES["granitemoehybrid with experts"]),
    extra: [
      ...mambaEntries(2),
      ...GRANITE_FACTORS,
      ["granitehybrid.rope.scaling.finetuned", bool(false)],
      ["granitehybrid.expert_shared_feed_forward_length", u32(5)],
    ],
  },
  "granitemoehybrid with experts, and no shared one": {
    ...{ architecture: "granitehybrid", permute: true },
    model: tinyModel({
      ...TINY_FAMILIES["granitemoehybrid with rotation"],
      layers: [{}, tinyMamba()].map((layer) => {
        return { ...layer, neurons: 12, experts: { count: 3, active: 2, normalised: true } };
      }),
    }),
    extra: [...mambaEntries(1), ["granitehybrid.expert_shared_feed_forward_length", u32(0)]],
  },
  "granitemoehybrid with rotation, as files do not say": {
    architecture: "granitehybrid",
    permute: true,
    model: tinyModel(TINY_FAMILIES["granitemoehybrid with rotation"]),
    extra: mambaEntries(1),
  },
  "granitemoehybrid without biases of filters": {
    architecture: "granitehybrid",
    permute: true,
    model: tinyModel({ family: "granitemoehybrid", layers: [{}, tinyMamba({ filterBiases: false })] }),
    extra: mambaEntries(1),
  },
  ernie4_5_moe: {
    ...{ architecture: "ernie4_5-moe", permute: true },
    model: tinyModel(TINY_FAMILIES.ernie4_5_moe),
    extra: [
      ["ernie4_5-moe.feed_forward_length", u32(6)],
      ["ernie4_5-moe.expert_feed_forward_length", u32(4)],
      ["ernie4_5-moe.expert_shared_feed_forward_length", u32(8)],
      ["ernie4_5-moe.expert_shared_count", u32(2)],
      ["ernie4_5-moe.leading_dense_block_count", u32(1)],
      ["ernie4_5-moe.interleave_moe_layer_step", u32(1)],
    ],
  },
  "hunyuan-moe": {
    ...{ architecture: "hunyuan-moe", model: tinyModel(TINY_FAMILIES.hunyuan_v1_moe) },
    extra: [
      ["hunyuan-moe.feed_forward_length", u32(4)],
      ["hunyuan-moe.expert_feed_forward_length", u32(4)],
      ["hunyuan-moe.expert_shared_feed_forward_length", u32(5)],
    ],
  },
  glm4_moe: {
    architecture: "glm4moe",
    renamed: { ffn_norm: "post_attention_norm" },
    model: tinyModel(TINY_FAMILIES.glm4_moe),
    extra: glm4MoeEntries([
      ["glm4moe.expert_gating_func", u32(2)],
      ["glm4moe.expert_weights_norm", bool(true)],
      ["glm4moe.expert_weights_scale", f32(2.5)],
    ]),
  },
  "glm4_moe whose numbers stay as they are, as files do not say": {
    architecture: "glm4moe",
    renamed: { ffn_norm: "post_attention_norm" },
    model: tinyModel({
      ...TINY_FAMILIES.glm4_moe,
      layers: TINY_FAMILIES.glm4_moe.layers!.map((layer) => {
        if (layer.experts === undefined) return layer;
        const { scale: _, ...experts } = layer.experts;
        return { ...layer, experts: { ...experts, normalised: false } };
      }),
    }),
    extra: glm4MoeEntries([]),
  },
  "gpt-oss": {
    architecture: "gpt-oss",
    renamed: { ffn_norm: "post_attention_norm" },
    model: tinyModel(TINY_FAMILIES.gpt_oss),
    extra: [
      ["gpt-oss.expert_feed_forward_length", u32(4)],
      ["gpt-oss.attention.sliding_window", u32(16)],
      ["gpt-oss.rope.scaling.type", text("yarn")],
      ["gpt-oss.rope.scaling.factor", f32(4)],
      ["gpt-oss.rope.scaling.original_context_length", u32(16)],
    ],
  },
  dots1: {
    ...{ architecture: "dots1", model: tinyModel(TINY_FAMILIES.dots1) },
    extra: [...sigmoidEntries("dots1"), ["dots1.expert_shared_count", u32(1)]],
  },
  afmoe: {
    ...{ architecture: "afmoe", norms: "around", model: tinyModel(TINY_FAMILIES.afmoe) },
    extra: [
      ...sigmoidEntries("afmoe"),
      ["afmoe.expert_shared_count", u32(1)],
      ["afmoe.attention.sliding_window", u32(16)],
    ],
  },
  cohere2_moe: cohere2MoeCase(TINY_FAMILIES.cohere2_moe),
  "cohere2_moe with LayerNorms, and a softmax without a shared expert": cohere2MoeCase(
    {
      ...{ ...TINY_FAMILIES.cohere2_moe, normType: "layer" },
      layers: TINY_FAMILIES.cohere2_moe.layers!.map((layer) => ({
        ...layer,
        ...(layer.experts && { experts: { count: 3, active: 2, normalised: true } }),
      })),
    },
    { expert_gating_func: u32(1), expert_weights_norm: bool(true), expert_shared_count: u32(0) },
  ),
  laguna: lagunaCase(TINY_FAMILIES.laguna),
  "laguna with gates for channels and without windows": lagunaCase({
    ...{ ...TINY_FAMILIES.laguna, gatedAttention: "gate_proj" },
    layers: TINY_FAMILIES.laguna.layers!.filter(({ window }) => window === undefined),
  }),
  exaone_moe: {
    ...{ architecture: "exaone-moe", model: tinyModel(TINY_FAMILIES.exaone_moe) },
    extra: [
      ...sigmoidEntries("exaone-moe"),
      ["exaone-moe.expert_shared_feed_forward_length", u32(4)],
      ["exaone-moe.attention.sliding_window", u32(16)],
    ],
  },
};
