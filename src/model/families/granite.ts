/** Granite, Granite MoE and Granite 4 (their configuration and modeling files in transformers). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";

export const GRANITE: Family = {
  ...LLAMA,
  modelType: "granite",
  architecture: "GraniteForCausalLM",
  configClass: "GraniteConfig",
  computes: {
    ...LLAMA.computes,
    scoreScale: "attention_multiplier",
    multipliers: true,
    headsDivideHidden: false,
  },
  config: { ...LLAMA.config, logitScale: { key: "logits_scaling", is: "divisor" } },
  readers: { ...LLAMA.readers, standsIn: false, tokenizer: "file" },
  defaults: { ...LLAMA.defaults, attentionMultiplier: 1 },
};

const NAMES_IN_MEMORY = { "block_sparse_moe.router": "block_sparse_moe.router.layer" };

export const GRANITE_MOE: Family = {
  ...GRANITE,
  modelType: "granitemoe",
  architecture: "GraniteMoeForCausalLM",
  configClass: "GraniteMoeConfig",
  computes: {
    ...GRANITE.computes,
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    headsFillHidden: true,
  },
  config: { ...GRANITE.config, ownKeys: "granitemoe" },
  stored: {
    ...GRANITE.stored,
    names: { "mlp.gate": "block_sparse_moe.router.layer", "mlp.experts": "block_sparse_moe.experts" },
    namesInMemory: NAMES_IN_MEMORY,
    experts: [
      { name: "block_sparse_moe.input_linear.weight", parts: ["gate_proj", "up_proj"] },
      { name: "block_sparse_moe.output_linear.weight", parts: ["down_proj"] },
    ],
  },
  readers: {
    ...GRANITE.readers,
    vllmReadsHeadDim: false,
    vllmOmits: ["qkv", "o"],
    transformersJs: GRANITE,
  },
};

const SHARED_NAMES = {
  ...GRANITE_MOE.stored.names,
  "mlp.shared_expert.gate_up_proj": "shared_mlp.input_linear",
  "mlp.shared_expert.down_proj": "shared_mlp.output_linear",
};
const SHARED_FUSED = ["gate_up_proj", "shared_expert.gate_up_proj"] as const;

/** Granite MoE with a shared expert. */
export const GRANITE_MOE_SHARED: Family = {
  ...GRANITE_MOE,
  modelType: "granitemoeshared",
  architecture: "GraniteMoeSharedForCausalLM",
  configClass: "GraniteMoeSharedConfig",
  config: { ...GRANITE_MOE.config, ownKeys: "granitemoeshared" },
  stored: { ...GRANITE_MOE.stored, fused: SHARED_FUSED, names: SHARED_NAMES },
};

/**
 * Layers have Mamba 2 or attention. Without experts, the FFN is what else is the shared expert; where then all
 * have rotated attention, it is read as a Granite (hf/plain_config.ts).
 */
export const GRANITE_HYBRID: Family = {
  ...GRANITE,
  modelType: "granitemoehybrid",
  architecture: "GraniteMoeHybridForCausalLM",
  configClass: "GraniteMoeHybridConfig",
  computes: {
    ...GRANITE.computes,
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    // The class of transformers 4 and vLLM's; that of transformers 5 reads head_dim.
    headsFillHidden: true,
  },
  config: { ...GRANITE.config, ownKeys: "granite_hybrid" },
  stored: {
    ...GRANITE.stored,
    fused: SHARED_FUSED,
    names: {
      "mlp.gate_up_proj": "shared_mlp.input_linear",
      "mlp.down_proj": "shared_mlp.output_linear",
    },
    namesWithExperts: SHARED_NAMES,
    namesInMemory: NAMES_IN_MEMORY,
    experts: GRANITE_MOE.stored.experts,
  },
  readers: { ...GRANITE.readers, vllmBackend: false, vllmReadsHeadDim: false },
  defaults: {
    ...GRANITE.defaults,
    sizes: { vocab: 32_000, hidden: 4096, neurons: 11_008, layers: 32, heads: 32 },
  },
};
