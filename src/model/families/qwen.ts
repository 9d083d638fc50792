/** Qwen2, Qwen3, Qwen3 MoE, Qwen3-Next and Qwen 3.5 (their configuration and modeling files in transformers). */
import type { Family } from "../family.ts";
import type { StoredExperts } from "../family_tensors.ts";
import { LLAMA } from "./llama.ts";

const QWEN_DEFAULTS = {
  ...LLAMA.defaults,
  sizes: { vocab: 151_936, hidden: 4096, neurons: 22_016, layers: 32, heads: 32 },
  positions: 32_768,
  kvHeads: 32,
  tokenIds: { bos_token_id: null, eos_token_id: null, pad_token_id: null },
  window: 4096,
  firstWindowed: 28,
} as const;

export const QWEN2: Family = {
  ...LLAMA,
  modelType: "qwen2",
  // Text models of Qwen2-VL and Qwen2.5-VL, whose positions in text alone are the usual ones.
  architecture: "Qwen2ForCausalLM",
  configClass: "Qwen2Config",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "always", o: "never", mlp: "never" },
    windows: "layer_types",
    headsDivideHidden: false,
  },
  config: { ...LLAMA.config, windowSwitch: true, scalingNames: { mrope: "default" } },
  readers: { ...LLAMA.readers, vllmReadsHeadDim: false, tokenizer: "own" },
  defaults: QWEN_DEFAULTS,
};

export const QWEN3: Family = {
  ...LLAMA,
  modelType: "qwen3",
  architecture: "Qwen3ForCausalLM",
  configClass: "Qwen3Config",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    qkNorm: "head",
    windows: "layer_types",
    headsDivideHidden: false,
  },
  config: { ...LLAMA.config, windowSwitch: true },
  readers: { ...LLAMA.readers, vllmOmits: ["o"] },
  defaults: { ...QWEN_DEFAULTS, headDim: 128 },
};

/** Experts as checkpoints of several families have them. */
export const EXPERTS_OF_MLP: readonly StoredExperts[] = (["gate_proj", "up_proj", "down_proj"] as const).map(
  (part) => ({ name: `mlp.experts.*.${part}.weight`, parts: [part] }),
);

/** Those of all experts, as transformers 5 has them in memory. */
export const STACKED_EXPERTS: readonly StoredExperts[] = [
  { name: "mlp.experts.gate_up_proj", parts: ["gate_proj", "up_proj"] },
  { name: "mlp.experts.down_proj", parts: ["down_proj"] },
];

/** Those of Qwen3-VL (conversion_mapping.py of transformers 5). */
const TRANSPOSED_EXPERTS: readonly StoredExperts[] = [
  { name: "mlp.experts.gate_up_proj", parts: ["gate_proj", "up_proj"], transposed: true },
  { name: "mlp.experts.down_proj", parts: ["down_proj"], transposed: true },
];

/** Names of the matrices of a shared expert. @param module - its name in checkpoints */
export function namesOfShared(module: string): Readonly<Record<string, string>> {
  const parts = ["gate_proj", "up_proj", "down_proj"];
  return Object.fromEntries(parts.map((part) => [`mlp.shared_expert.${part}`, `${module}.${part}`]));
}

/** Those in several families. */
export const SHARED_EXPERTS: Readonly<Record<string, string>> = namesOfShared("mlp.shared_experts");

export const QWEN3_MOE: Family = {
  ...QWEN3,
  modelType: "qwen3_moe",
  architecture: "Qwen3MoeForCausalLM",
  configClass: "Qwen3MoeConfig",
  computes: { ...QWEN3.computes, windows: "all" },
  config: { ...QWEN3.config, ownKeys: "qwen3_moe" },
  stored: { ...QWEN3.stored, experts: EXPERTS_OF_MLP, expertsInOthers: TRANSPOSED_EXPERTS },
  readers: { ...QWEN3.readers, standsIn: false },
  defaults: {
    ...QWEN_DEFAULTS,
    sizes: { vocab: 151_936, hidden: 2048, neurons: 6144, layers: 24, heads: 32 },
    kvHeads: 4,
  },
};

/**
 * Beside the experts is a shared one. With `use_sliding_window`, which no published model has, every second layer
 * would have a window. The class of transformers 4 wants heads of C / N.
 */
export const QWEN2_MOE: Family = {
  ...QWEN2,
  modelType: "qwen2_moe",
  architecture: "Qwen2MoeForCausalLM",
  configClass: "Qwen2MoeConfig",
  computes: { ...QWEN2.computes, headsFillHidden: true },
  config: {
    ...{ ...LLAMA.config, windowSwitch: true },
    fixedKeys: { use_sliding_window: false, qkv_bias: true },
    ownKeys: "qwen2_moe",
  },
  stored: { ...QWEN2.stored, experts: EXPERTS_OF_MLP },
  readers: { ...QWEN2.readers, standsIn: false, tokenizer: "declared" },
  defaults: {
    ...QWEN_DEFAULTS,
    sizes: { vocab: 151_936, hidden: 2048, neurons: 5632, layers: 24, heads: 16 },
    kvHeads: 16,
    window: null,
  },
};

/** The text model; most layers have linear attention. */
export const QWEN3_5: Family = {
  ...QWEN3,
  modelType: "qwen3_5_text",
  architecture: "Qwen3_5ForCausalLM",
  configClass: "Qwen3_5TextConfig",
  computes: {
    ...QWEN3.computes,
    normOffset: 1,
    gatedAttention: "q_proj",
    windows: "none",
    partialRotary: true,
  },
  config: {
    ...LLAMA.config,
    fixedKeys: { attn_output_gate: true },
    scalingNames: { mrope: "default" },
    ownKeys: "qwen3_5",
  },
  readers: {
    ...LLAMA.readers,
    transformersSince: "5.2",
    vllmBackend: false,
    vllmOmits: ["qkv", "o"],
    // Its own class there (4.3) asks for the configuration of an image encoder (modeling_qwen2_vl.js).
    transformersJs: { modelType: "qwen3_next", architecture: "Qwen3NextForCausalLM" },
    standsIn: false,
    tokenizer: "misdeclared",
  },
  defaults: {
    ...QWEN_DEFAULTS,
    sizes: { vocab: 248_320, hidden: 4096, neurons: 12_288, layers: 32, heads: 16 },
    kvHeads: 4,
    headDim: 256,
    rotaryPart: 0.25,
    window: null,
  },
};

/** The text model with experts, and a shared one. */
export const QWEN3_5_MOE: Family = {
  ...QWEN3_5,
  modelType: "qwen3_5_moe_text",
  architecture: "Qwen3_5MoeForCausalLM",
  configClass: "Qwen3_5MoeTextConfig",
  config: { ...QWEN3_5.config, ownKeys: "qwen3_5_moe" },
  stored: { ...QWEN3_5.stored, experts: EXPERTS_OF_MLP },
  defaults: {
    ...QWEN3_5.defaults,
    sizes: { vocab: 248_320, hidden: 2048, neurons: 512, layers: 40, heads: 16 },
    kvHeads: 2,
  },
};

/** Most layers have linear attention, and all of published models experts beside a shared one. */
export const QWEN3_NEXT: Family = {
  ...QWEN3_5_MOE,
  modelType: "qwen3_next",
  architecture: "Qwen3NextForCausalLM",
  configClass: "Qwen3NextConfig",
  config: { ...LLAMA.config, ownKeys: "qwen3_next" },
  stored: { ...QWEN3_5_MOE.stored, fused: ["in_proj_qkvz", "in_proj_ba"] },
  readers: { ...QWEN3_5_MOE.readers, transformersSince: "4.57", transformersJs: null },
  defaults: {
    ...QWEN3_5_MOE.defaults,
    sizes: { vocab: 151_936, hidden: 2048, neurons: 5632, layers: 48, heads: 16 },
  },
};
