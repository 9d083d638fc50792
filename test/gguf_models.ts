/** Models for all layouts of GGUF files. */

import { type RopeSpec, YARN_DEFAULTS } from "../src/model/rope_spec.ts";
import { PROJECTIONS } from "../src/model/spec.ts";
import { type BuiltValue, bool, f32, floatTensor, i32s, text, u32 } from "./gguf_builder.ts";
import type { Case } from "./gguf_layouts.ts";
import { TINY_FAMILIES } from "./tiny_families.ts";
import { tinyDelta, tinyMamba, tinyModel } from "./tiny_model.ts";
import { GEMMA_SWITCHES, GEMMA1_SWITCHES, GEMMA2_SWITCHES } from "./tiny_variants.ts";

const QKV = ["q_proj", "k_proj", "v_proj"] as const;
const rope = (theta: number): RopeSpec => ({ theta, rotaryDim: 4, scaling: null });
const GEMMA_LAYERS = Array.from({ length: 7 }, (_, layer) =>
  layer === 5 ? { rope: rope(1_000_000) } : { rope: rope(10_000), window: 16 },
);

/** The rotary embedding of a Ministral 3. */
const GROWING: RopeSpec = {
  ...rope(10_000),
  scaling: {
    ...{ type: "yarn", factor: 2, originalMaxPositions: 16, attentionFactor: 1, queryGrowth: 0.1 },
    ...YARN_DEFAULTS,
  },
};

const QWEN35 = { architecture: "qwen35", renamed: { ffn_norm: "post_attention_norm" } } as const;
const IN_PART = { rope: { ...rope(10_000), rotaryDim: 2 } } as const;

/** The sizes of a delta rule with filters of three tokens, and key heads of eight channels. */
function deltaEntries(
  { keyHeads, valueHeads, inner }: Readonly<Record<"keyHeads" | "valueHeads" | "inner", number>>,
  architecture = "qwen35",
): NonNullable<Case["extra"]> {
  const entries: Readonly<Record<string, BuiltValue>> = {
    "ssm.conv_kernel": u32(3),
    "ssm.group_count": u32(keyHeads),
    "ssm.inner_size": u32(inner),
    "ssm.state_size": u32(8),
    "ssm.time_step_rank": u32(valueHeads),
    "rope.dimension_count": u32(2),
    "rope.dimension_sections": i32s([1, 0, 0, 0]),
  };
  return Object.entries(entries).map(([key, value]) => [`${architecture}.${key}`, value]);
}

/** The sizes of Mamba 2 with four value heads of four channels. */
function mambaEntries(keyHeads: number): NonNullable<Case["extra"]> {
  return [
    ["granitehybrid.ssm.conv_kernel", u32(3)],
    ["granitehybrid.ssm.group_count", u32(keyHeads)],
    ["granitehybrid.ssm.inner_size", u32(16)],
    ["granitehybrid.ssm.state_size", u32(8)],
    ["granitehybrid.ssm.time_step_rank", u32(4)],
  ];
}

const GRANITE_FACTORS: NonNullable<Case["extra"]> = [
  ["granitehybrid.attention.scale", f32(0.125)],
  ["granitehybrid.embedding_scale", f32(12)],
  ["granitehybrid.residual_scale", f32(0.4)],
  ["granitehybrid.logit_scale", f32(3)],
];

/** Of layers with and without windows, the latter with heads of six channels, of which two turn. */
function gemma4Case(
  name: "gemma4" | "gemma4 with keys as values" | "gemma4 with experts",
  others: Readonly<Record<string, BuiltValue>>,
): Case {
  const model = tinyModel(TINY_FAMILIES[name]);
  const pattern = model.spec.layers.map(({ window }) => window !== null);
  const entries: Readonly<Record<string, BuiltValue>> = {
    "attention.sliding_window": u32(16),
    "attention.sliding_window_pattern": { type: "array", of: "bool", value: pattern },
    "attention.key_length_swa": u32(4),
    "attention.value_length_swa": u32(4),
    "rope.dimension_count": u32(6),
    "rope.dimension_count_swa": u32(4),
    final_logit_softcapping: f32(3),
    ...others,
  };
  return {
    ...{ architecture: "gemma4", norms: "around", model },
    extra: Object.entries(entries).map(([key, value]) => [`gemma4.${key}`, value]),
    tensors: [floatTensor("rope_freqs.weight", [3], Float32Array.of(1, 1e30, 1e30))],
  };
}

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

/** A model for every way of storing one. */
export const CASES: Readonly<Record<string, Case>> = {
  llama: { architecture: "llama", permute: true, model: tinyModel() },
  "llama with its own output and biases": {
    architecture: "llama",
    permute: true,
    model: tinyModel({
      tiedEmbeddings: false,
      layers: [{ biases: ["q_proj", "k_proj", "v_proj", "o_proj", "down_proj"] }, {}],
    }),
  },
  "llama of uneven layers": {
    architecture: "deci",
    permute: true,
    model: tinyModel({
      layers: [{ neurons: 3 }, { kvGroups: 1, groupSize: 3 }, { neurons: 9, kvGroups: 3 }],
    }),
  },
  qwen2: {
    architecture: "qwen2",
    model: tinyModel({ family: "qwen2", layers: [{ biases: ["q_proj", "k_proj", "v_proj"] }] }),
  },
  qwen3: { architecture: "qwen3", model: tinyModel({ family: "qwen3", qkNorm: "head", headDim: 6 }) },
  ministral3: {
    architecture: "mistral3",
    permute: true,
    model: tinyModel({ family: "ministral3", layers: [{ rope: GROWING }, { rope: GROWING }] }),
    extra: [
      ["mistral3.rope.scaling.type", text("yarn")],
      ["mistral3.rope.scaling.factor", f32(2)],
      ["mistral3.rope.scaling.original_context_length", u32(16)],
      ["mistral3.rope.scaling.yarn_log_multiplier", f32(1)],
      ["mistral3.attention.temperature_scale", f32(0.1)],
    ],
  },
  "a newer file of a Mistral": {
    architecture: "mistral3",
    permute: true,
    model: tinyModel({ family: "mistral" }),
  },
  "the text model of a Qwen3-VL": {
    architecture: "qwen3vl",
    model: tinyModel({ family: "qwen3", qkNorm: "head", headDim: 6 }),
    extra: [["qwen3vl.rope.dimension_sections", i32s([1, 1, 1, 0])]],
  },
  gemma: {
    architecture: "gemma",
    model: tinyModel({ family: "gemma", ...GEMMA1_SWITCHES, headDim: 6 }),
  },
  gemma2: {
    architecture: "gemma2",
    norms: "around",
    model: tinyModel({ family: "gemma2", ...GEMMA2_SWITCHES, layers: [{ window: 16 }, {}, { window: 16 }] }),
    extra: [
      ["gemma2.attention.sliding_window", u32(16)],
      ["gemma2.attn_logit_softcapping", f32(1.5)],
      ["gemma2.final_logit_softcapping", f32(3)],
    ],
  },
  "gemma2 that leaves window and caps to the reader": {
    architecture: "gemma2",
    norms: "around",
    model: tinyModel({
      family: "gemma2",
      ...GEMMA2_SWITCHES,
      scoreSoftcap: 50,
      logitSoftcap: 30,
      layers: [{ window: 4096 }, {}, { window: 4096 }],
    }),
  },
  gemma3: {
    architecture: "gemma3",
    norms: "around",
    model: tinyModel({
      family: "gemma3_text",
      ...GEMMA_SWITCHES,
      layers: [...GEMMA_LAYERS.slice(0, 5), GEMMA_LAYERS[5]!],
    }),
    extra: [["gemma3.attention.sliding_window", u32(16)]],
  },
  gemma4: gemma4Case("gemma4", {
    "attention.shared_kv_layers": u32(2),
    embedding_length_per_layer_input: u32(3),
  }),
  "gemma4 whose keys are values": gemma4Case("gemma4 with keys as values", {
    embedding_length_per_layer_input: u32(0),
    "rope.freq_base_swa": f32(10_000),
  }),
  "gemma4 with experts": GEMMA4_EXPERTS,
  "gemma4 with two matrices of each expert in one": { ...GEMMA4_EXPERTS, joined: true },
  granite: {
    architecture: "granite",
    permute: true,
    model: tinyModel({
      family: "granite",
      embeddingScale: 12,
      attentionScale: 0.1,
      residualScale: 0.22,
      logitDivisor: 6,
      layers: [{ biases: PROJECTIONS }, {}],
    }),
    extra: [
      ["granite.attention.scale", f32(0.1)],
      ["granite.embedding_scale", f32(12)],
      ["granite.residual_scale", f32(0.22)],
      ["granite.logit_scale", f32(6)],
    ],
  },
  "granite with factors of 0, which are none": {
    architecture: "granite",
    permute: true,
    model: tinyModel({ family: "granite", logitDivisor: 6 }),
    extra: [
      ["granite.attention.scale", f32(0)],
      ["granite.embedding_scale", f32(0)],
      ["granite.logit_scale", f32(6)],
    ],
  },
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
  "qwen2moe without a width of the expert of all tokens, which has that of the FFN": {
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
    extra: [
      ["granitemoe.attention.scale", f32(0.125)],
      ["granitemoe.embedding_scale", f32(12)],
      ["granitemoe.residual_scale", f32(0.4)],
      ["granitemoe.logit_scale", f32(3)],
    ],
  },
  "granitemoe with an expert of all tokens": {
    ...{ architecture: "granitemoe", permute: true },
    model: tinyModel(TINY_FAMILIES["granitemoehybrid of attention with experts"]),
    extra: [["granitemoe.expert_shared_feed_forward_length", u32(5)]],
  },
  olmoe: { architecture: "olmoe", model: tinyModel(TINY_FAMILIES.olmoe) },
  smollm3: {
    architecture: "smollm3",
    permute: true,
    model: tinyModel({
      family: "smollm3",
      layers: Array.from({ length: 9 }, (_, i) => (i % 4 === 3 ? { rope: null } : {})),
    }),
  },
  lfm2: {
    architecture: "lfm2",
    renamed: { output_norm: "token_embd_norm" },
    model: tinyModel(TINY_FAMILIES.lfm2),
    extra: [["lfm2.shortconv.l_cache", u32(3)]],
  },
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
  qwen3_5: {
    ...QWEN35,
    model: tinyModel(TINY_FAMILIES.qwen3_5),
    extra: [
      ...deltaEntries({ keyHeads: 2, valueHeads: 6, inner: 48 }),
      ["qwen35.full_attention_interval", u32(3)],
    ],
  },
  qwen3_5_moe: {
    architecture: "qwen35moe",
    renamed: QWEN35.renamed,
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
    renamed: QWEN35.renamed,
    grouped: true,
    model: tinyModel(TINY_FAMILIES.qwen3_next),
    extra: [
      ...deltaEntries({ keyHeads: 2, valueHeads: 6, inner: 48 }, "qwen3next"),
      ["qwen3next.full_attention_interval", u32(2)],
      ["qwen3next.expert_feed_forward_length", u32(4)],
      ["qwen3next.expert_shared_feed_forward_length", u32(5)],
    ],
  },
  "qwen3_5 of another pattern": {
    ...QWEN35,
    model: tinyModel({
      ...TINY_FAMILIES.qwen3_5,
      tiedEmbeddings: false,
      layers: [IN_PART, tinyDelta({ keyHeads: 1 }), IN_PART, tinyDelta({ keyHeads: 1 })],
    }),
    extra: [
      ...deltaEntries({ keyHeads: 1, valueHeads: 4, inner: 64 }),
      ["qwen35.attention.recurrent_layers", { type: "array", of: "bool", value: [false, true, false, true] }],
    ],
  },
  "qwen3_5 with attention in each fourth layer, as files do not say": {
    ...QWEN35,
    model: tinyModel({
      ...TINY_FAMILIES.qwen3_5,
      layers: Array.from({ length: 5 }, (_, layer) => (layer === 3 ? IN_PART : tinyDelta({ keyHeads: 4 }))),
    }),
    extra: deltaEntries({ keyHeads: 4, valueHeads: 4, inner: 64 }),
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
  "granitemoehybrid with experts, and none of all tokens": {
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
  phi3: {
    architecture: "phi3",
    fused: "all",
    model: tinyModel({
      family: "phi3",
      tiedEmbeddings: false,
      layers: [{ window: 7 }, { window: 7, groupSize: 1 }],
    }),
    extra: [["phi3.attention.sliding_window", u32(7)]],
  },
  olmo: {
    architecture: "olmo",
    permute: true,
    model: tinyModel(TINY_FAMILIES.olmo),
    extra: [["olmo.attention.clamp_kqv", f32(0.5)]],
  },
  olmo2: { architecture: "olmo2", norms: "after", model: tinyModel(TINY_FAMILIES.olmo2) },
  olmo3: {
    architecture: "olmo2",
    norms: "after",
    model: tinyModel(TINY_FAMILIES.olmo3),
    extra: [
      ["olmo2.attention.sliding_window", u32(16)],
      ["olmo2.rope.scaling.type", text("yarn")],
      ["olmo2.rope.scaling.factor", f32(4)],
      ["olmo2.rope.scaling.original_context_length", u32(16)],
    ],
  },
  exaone4: { architecture: "exaone4", norms: "after", model: tinyModel(TINY_FAMILIES.exaone4) },
  "exaone4 of 64 layers": {
    architecture: "exaone4",
    norms: "after",
    model: tinyModel(TINY_FAMILIES["exaone4 of 64 layers"]),
    extra: [["exaone4.attention.sliding_window", u32(16)]],
  },
  seed_oss: {
    architecture: "seed_oss",
    renamed: { ffn_norm: "post_attention_norm" },
    model: tinyModel(TINY_FAMILIES.seed_oss),
  },
  ernie4_5: { architecture: "ernie4_5", permute: true, model: tinyModel(TINY_FAMILIES.ernie4_5) },
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
  "hunyuan-dense": { architecture: "hunyuan-dense", model: tinyModel(TINY_FAMILIES.hunyuan) },
  "hunyuan-moe": {
    ...{ architecture: "hunyuan-moe", model: tinyModel(TINY_FAMILIES.hunyuan_v1_moe) },
    extra: [
      ["hunyuan-moe.feed_forward_length", u32(4)],
      ["hunyuan-moe.expert_feed_forward_length", u32(4)],
      ["hunyuan-moe.expert_shared_feed_forward_length", u32(5)],
    ],
  },
  chatglm: {
    architecture: "chatglm",
    permute: true,
    fused: "ffn",
    model: tinyModel(TINY_FAMILIES.glm),
    extra: [["chatglm.rope.dimension_count", u32(2)]],
  },
  glm4: {
    architecture: "glm4",
    permute: true,
    norms: "around",
    fused: "ffn",
    model: tinyModel(TINY_FAMILIES.glm4),
    extra: [["glm4.rope.dimension_count", u32(2)]],
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
  exaone_moe: {
    ...{ architecture: "exaone-moe", model: tinyModel(TINY_FAMILIES.exaone_moe) },
    extra: [
      ...sigmoidEntries("exaone-moe"),
      ["exaone-moe.expert_shared_feed_forward_length", u32(4)],
      ["exaone-moe.attention.sliding_window", u32(16)],
    ],
  },
  apertus: { architecture: "apertus", model: tinyModel(TINY_FAMILIES.apertus) },
  arcee: {
    architecture: "arcee",
    permute: true,
    model: tinyModel({ ...TINY_FAMILIES.arcee, layers: [{ biases: QKV }, {}] }),
  },
  nemotron: {
    architecture: "nemotron",
    model: tinyModel(TINY_FAMILIES.nemotron),
    extra: [["nemotron.rope.dimension_count", u32(2)]],
  },
  starcoder2: { architecture: "starcoder2", model: tinyModel(TINY_FAMILIES.starcoder2) },
  stablelm: {
    architecture: "stablelm",
    model: tinyModel(TINY_FAMILIES.stablelm),
    extra: [["stablelm.rope.dimension_count", u32(2)]],
  },
  "stablelm in parallel, against what the file says": {
    architecture: "stablelm",
    model: tinyModel(TINY_FAMILIES["stablelm in parallel"]),
    extra: [
      ["stablelm.rope.dimension_count", u32(2)],
      ["stablelm.use_parallel_residual", bool(false)],
    ],
  },
  "stablelm 2 12B": {
    architecture: "stablelm",
    model: tinyModel(TINY_FAMILIES["stablelm 2 12B"]),
    extra: [["stablelm.rope.dimension_count", u32(2)]],
  },
  phi2: {
    architecture: "phi2",
    model: tinyModel(TINY_FAMILIES.phi),
    extra: [["phi2.rope.dimension_count", u32(2)]],
  },
  "phi2 of older files": {
    architecture: "phi2",
    fused: "qkv",
    model: tinyModel(TINY_FAMILIES.phi),
    extra: [["phi2.rope.dimension_count", u32(2)]],
  },
  gptneox: {
    architecture: "gptneox",
    fused: "qkv",
    model: tinyModel(TINY_FAMILIES.gpt_neox),
    extra: [
      ["gptneox.rope.dimension_count", u32(2)],
      ["gptneox.use_parallel_residual", bool(true)],
    ],
  },
  "gptneox in sequence": {
    architecture: "gptneox",
    fused: "qkv",
    model: tinyModel(TINY_FAMILIES["gpt_neox in sequence"]),
    extra: [
      ["gptneox.rope.dimension_count", u32(2)],
      ["gptneox.use_parallel_residual", bool(false)],
    ],
  },
  gpt2: { architecture: "gpt2", fused: "qkv", model: tinyModel(TINY_FAMILIES.gpt2) },
  starcoder: { architecture: "starcoder", fused: "qkv", model: tinyModel(TINY_FAMILIES.gpt_bigcode) },
  bloom: { architecture: "bloom", fused: "qkv", model: tinyModel(TINY_FAMILIES.bloom) },
  mpt: {
    architecture: "mpt",
    fused: "qkv",
    model: tinyModel(TINY_FAMILIES.mpt),
    extra: [
      ["mpt.attention.clamp_kqv", f32(0.5)],
      ["mpt.attention.max_alibi_bias", f32(8)],
    ],
  },
  falcon: { architecture: "falcon", fused: "qkv", model: tinyModel(TINY_FAMILIES.falcon) },
  jais2: { architecture: "jais2", model: tinyModel(TINY_FAMILIES.jais2) },
  internlm2: { architecture: "internlm2", permute: true, model: tinyModel({ tiedEmbeddings: false }) },
  exaone: { architecture: "exaone", model: tinyModel() },
  "command-r": {
    architecture: "command-r",
    permute: true,
    model: tinyModel({ ...TINY_FAMILIES.cohere, layers: [{ groupSize: 1, biases: QKV }] }),
    extra: [["command-r.logit_scale", f32(0.25)]],
  },
  "command-r of 64 layers": {
    architecture: "command-r",
    permute: true,
    model: tinyModel(TINY_FAMILIES["cohere of 64 layers"]),
    extra: [["command-r.logit_scale", f32(0.25)]],
  },
  cohere2: {
    architecture: "cohere2",
    permute: true,
    model: tinyModel(TINY_FAMILIES.cohere2),
    extra: [
      ["cohere2.logit_scale", f32(0.25)],
      ["cohere2.attention.sliding_window", u32(16)],
    ],
  },
};
