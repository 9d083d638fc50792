/** Models for all layouts of GGUF files. */

import { PROJECTIONS } from "../src/model/projections.ts";
import { type RopeSpec, YARN_DEFAULTS } from "../src/model/rope_spec.ts";
import { bool, f32, f32s, i32s, text, u32 } from "./gguf_builder.ts";
import { deltaEntries, gemma3nCase, gemma4Case } from "./gguf_entries.ts";
import { EXPERT_CASES } from "./gguf_expert_models.ts";
import type { Case } from "./gguf_layouts.ts";
import { TINY_FAMILIES } from "./tiny_families.ts";
import { tinyDelta, tinyModel } from "./tiny_model.ts";
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
  gemma3n: gemma3nCase({
    "altup.num_inputs": u32(4),
    "attention.shared_kv_layers": u32(5),
    embedding_length_per_layer_input: u32(256),
    activation_sparsity_scale: f32s([...Array(10).fill(1.6448533535003662), ...Array(15).fill(-Infinity)]),
    "attention.sliding_window_pattern": {
      ...{ type: "array", of: "bool" },
      value: Array.from({ length: 25 }, (_, layer) => layer % 5 !== 4),
    },
  }),
  "gemma3n without what llama.cpp takes for granted": gemma3nCase({}),
  gemma4: gemma4Case("gemma4", {
    "attention.shared_kv_layers": u32(2),
    embedding_length_per_layer_input: u32(3),
  }),
  "gemma4 whose keys are values": gemma4Case("gemma4 with keys as values", {
    embedding_length_per_layer_input: u32(0),
    "rope.freq_base_swa": f32(10_000),
  }),
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
  qwen3_5: {
    ...QWEN35,
    model: tinyModel(TINY_FAMILIES.qwen3_5),
    extra: [
      ...deltaEntries({ keyHeads: 2, valueHeads: 6, inner: 48 }),
      ["qwen35.full_attention_interval", u32(3)],
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
  "hunyuan-dense": { architecture: "hunyuan-dense", model: tinyModel(TINY_FAMILIES.hunyuan) },
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
  ...EXPERT_CASES,
};
