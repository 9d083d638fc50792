/** HunYuan, dense and with experts (their configuration and modeling files in transformers). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";
import { EXPERTS_OF_MLP, namesOfShared } from "./qwen.ts";

export const HUNYUAN: Family = {
  ...LLAMA,
  modelType: "hunyuan_v1_dense",
  architecture: "HunYuanDenseV1ForCausalLM",
  configClass: "HunYuanDenseV1Config",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    qkNorm: "rotated_head",
    scalesBase: true,
    headsDivideHidden: false,
  },
  stored: {
    ...LLAMA.stored,
    names: {
      "self_attn.q_norm": "self_attn.query_layernorm",
      "self_attn.k_norm": "self_attn.key_layernorm",
    },
  },
  readers: { ...LLAMA.readers, vllmClass: false, standsIn: false },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 290_943, hidden: 4096, neurons: 11_008, layers: 32, heads: 32 },
    normEps: 1e-5,
    tokenIds: { bos_token_id: 1, eos_token_id: 2, pad_token_id: 0 },
  },
};

/** All layers have experts, and one shared expert beside them, as wide as the others. */
export const HUNYUAN_MOE: Family = {
  ...HUNYUAN,
  modelType: "hunyuan_v1_moe",
  architecture: "HunYuanMoEV1ForCausalLM",
  configClass: "HunYuanMoEV1Config",
  config: { ...HUNYUAN.config, ownKeys: "hunyuan_v1_moe" },
  stored: {
    ...HUNYUAN.stored,
    names: { ...HUNYUAN.stored.names, "mlp.gate": "mlp.gate.wg", ...namesOfShared("mlp.shared_mlp") },
    experts: EXPERTS_OF_MLP,
  },
  readers: { ...HUNYUAN.readers, transformersJs: HUNYUAN },
};
