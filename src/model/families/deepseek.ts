/** DeepSeek V2 and V3, and GLM-4.7 Flash, with latent attention (their configuration and modeling files). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";
import { EXPERTS_OF_MLP, SHARED_EXPERTS } from "./qwen.ts";

/** Also Moonlight, Kimi K2 and, without experts, Youtu-LLM. Neighbouring channels of heads turn together. */
export const DEEPSEEK_V3: Family = {
  ...LLAMA,
  modelType: "deepseek_v3",
  architecture: "DeepseekV3ForCausalLM",
  configClass: "DeepseekV3Config",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "never", o: "attention_bias", mlp: "never" },
    latents: true,
    kvHeads: "each",
    headsDivideHidden: false,
  },
  config: {
    ...LLAMA.config,
    fixedKeys: { rope_interleave: true, moe_layer_freq: 1, scoring_func: "sigmoid" },
    ownKeys: "deepseek_v3",
  },
  stored: {
    ...LLAMA.stored,
    names: { ...SHARED_EXPERTS, "self_attn.kv_a_proj": "self_attn.kv_a_proj_with_mqa" },
    namesWithQueryLatent: { "self_attn.q_proj": "self_attn.q_b_proj" },
    fused: ["kv_b_proj"],
    experts: EXPERTS_OF_MLP,
    rotatedOrder: "pairs",
  },
  readers: { ...LLAMA.readers, standsIn: false, transformersJs: LLAMA, tokenizer: "file" },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 129_280, hidden: 7168, neurons: 18_432, layers: 61, heads: 128 },
    positions: 4096,
    tokenIds: { bos_token_id: 0, eos_token_id: 1, pad_token_id: null },
  },
};

/** Its class ignores `norm_topk_prob`, which other programs do not; no published model has it. */
export const DEEPSEEK_V2: Family = {
  ...DEEPSEEK_V3,
  modelType: "deepseek_v2",
  architecture: "DeepseekV2ForCausalLM",
  configClass: "DeepseekV2Config",
  computes: { ...DEEPSEEK_V3.computes, headsDivideHidden: true },
  config: {
    ...DEEPSEEK_V3.config,
    fixedKeys: { moe_layer_freq: 1, mlp_bias: false, norm_topk_prob: false, scoring_func: "softmax" },
    ownKeys: "deepseek_v2",
  },
  defaults: {
    ...DEEPSEEK_V3.defaults,
    sizes: { vocab: 102_400, hidden: 4096, neurons: 11_008, layers: 32, heads: 32 },
    positions: 2048,
    tokenIds: { bos_token_id: 1, eos_token_id: 2, pad_token_id: null },
  },
};

export const GLM4_MOE_LITE: Family = {
  ...DEEPSEEK_V3,
  modelType: "glm4_moe_lite",
  architecture: "Glm4MoeLiteForCausalLM",
  configClass: "Glm4MoeLiteConfig",
  config: { ...DEEPSEEK_V3.config, ownKeys: "glm4_moe_lite" },
  readers: { ...DEEPSEEK_V3.readers, transformersSince: "5.0" },
  defaults: {
    ...DEEPSEEK_V3.defaults,
    sizes: { vocab: 154_880, hidden: 2048, neurons: 10_240, layers: 47, heads: 20 },
    normEps: 1e-5,
    positions: 202_752,
  },
};
