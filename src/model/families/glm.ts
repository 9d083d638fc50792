/** GLM, GLM-4-0414 and GLM-4.5 (their configuration and modeling files in transformers). */
import { CORRECTION } from "../expert_weights.ts";
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";
import { EXPERTS_OF_MLP, SHARED_EXPERTS } from "./qwen.ts";

export const GLM: Family = {
  ...LLAMA,
  modelType: "glm",
  architecture: "GlmForCausalLM",
  configClass: "GlmConfig",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "attention_bias", o: "never", mlp: "never" },
    partialRotary: true,
    headsDivideHidden: false,
  },
  stored: { ...LLAMA.stored, fused: ["gate_up_proj"], rotatedOrder: "pairs" },
  readers: { ...LLAMA.readers, vllmClass: false, standsIn: false, tokenizer: "file" },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 151_552, hidden: 4096, neurons: 13_696, layers: 40, heads: 32 },
    normEps: 1.5625e-7,
    positions: 131_072,
    kvHeads: 2,
    headDim: 128,
    rotaryPart: 0.5,
    tokenIds: { bos_token_id: null, eos_token_id: [151_329, 151_336, 151_338], pad_token_id: 151_329 },
    biased: ["attention_bias"],
  },
};

export const GLM4: Family = {
  ...GLM,
  modelType: "glm4",
  architecture: "Glm4ForCausalLM",
  configClass: "Glm4Config",
  computes: { ...GLM.computes, norms: "around" },
  stored: {
    ...GLM.stored,
    names: {
      post_attention_layernorm: "post_self_attn_layernorm",
      pre_feedforward_layernorm: "post_attention_layernorm",
      post_feedforward_layernorm: "post_mlp_layernorm",
    },
  },
  readers: { ...GLM.readers, vllmClass: true, transformersJs: LLAMA },
};

/**
 * GLM-4.5 to 4.7. All layers but the first ones have experts. Heads turn by halves.
 */
export const GLM4_MOE: Family = {
  ...LLAMA,
  modelType: "glm4_moe",
  architecture: "Glm4MoeForCausalLM",
  configClass: "Glm4MoeConfig",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "attention_bias", o: "never", mlp: "never" },
    qkNorm: "head",
    partialRotary: true,
    headsDivideHidden: false,
  },
  config: {
    ...LLAMA.config,
    qkNormFlag: "use_qk_norm",
    ownKeys: "glm4_moe",
  },
  stored: {
    ...LLAMA.stored,
    names: SHARED_EXPERTS,
    // Of Hy3.
    namesInMemory: { "mlp.e_score_correction_bias": CORRECTION },
    // Of Sarvam 30B and Param 2 (stored_names.ts).
    fusedInOthers: ["c_attn"],
    experts: EXPERTS_OF_MLP,
  },
  readers: { ...LLAMA.readers, standsIn: false, transformersJs: LLAMA, tokenizer: "file" },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 151_552, hidden: 4096, neurons: 10_944, layers: 46, heads: 96 },
    normEps: 1e-5,
    positions: 131_072,
    kvHeads: 8,
    rotaryPart: 0.5,
    tokenIds: { bos_token_id: null, eos_token_id: null, pad_token_id: null },
  },
};
