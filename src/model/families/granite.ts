/** Granite, Granite MoE, Granite 4 and Granite with windows (their configuration and modeling files in transformers). */
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

const WINDOWS = { window: 128, windowPattern: 4, firstUnwindowed: true } as const;

/** A Granite with sinks, windows in three of four layers, and a base of the rotation for each. */
export const GRANITE_SWA: Family = {
  ...GRANITE,
  modelType: "granite_swa",
  architecture: "GraniteSWAForCausalLM",
  configClass: "GraniteSWAConfig",
  computes: { ...GRANITE.computes, attentionSinks: true, windows: "layer_types" },
  config: { ...GRANITE.config, windowSwitch: false, ownKeys: "granite_swa" },
  readers: {
    ...GRANITE.readers,
    transformersSince: "5.15",
    // It would leave out the sinks.
    vllmBackend: false,
    transformersJs: GRANITE,
  },
  defaults: {
    ...GRANITE.defaults,
    sizes: { vocab: 100_352, hidden: 2560, neurons: 8192, layers: 24, heads: 20 },
    tiedEmbeddings: true,
    normEps: 1e-5,
    positions: 8192,
    kvHeads: 4,
    ...WINDOWS,
    tokenIds: { bos_token_id: 100_257, eos_token_id: 100_257, pad_token_id: null },
  },
};

/** The same with experts, and a shared one where its width is given. */
export const GRANITE_MOE_SWA: Family = {
  ...GRANITE_SWA,
  modelType: "granitemoe_swa",
  architecture: "GraniteMoeSWAForCausalLM",
  configClass: "GraniteMoeSWAConfig",
  computes: { ...GRANITE_SWA.computes, biases: GRANITE_MOE.computes.biases },
  config: { ...GRANITE_SWA.config, ownKeys: "granitemoe_swa" },
  stored: {
    ...GRANITE.stored,
    fused: SHARED_FUSED,
    names: { ...SHARED_NAMES, "mlp.gate": "block_sparse_moe.router" },
    experts: [
      { name: "block_sparse_moe.experts.gate_up_proj", parts: ["gate_proj", "up_proj"] },
      { name: "block_sparse_moe.experts.down_proj", parts: ["down_proj"] },
    ],
  },
  readers: { ...GRANITE_SWA.readers, vllmReadsHeadDim: false, vllmOmits: GRANITE_MOE.readers.vllmOmits },
  defaults: { ...GRANITE_MOE.defaults, ...WINDOWS },
};
