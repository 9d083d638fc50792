/** StableLM 3B and 2 (configuration_stablelm.py and modeling_stablelm.py of transformers). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";

export const STABLELM: Family = {
  ...LLAMA,
  modelType: "stablelm",
  architecture: "StableLmForCausalLM",
  configClass: "StableLmConfig",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "use_qkv_bias", o: "never", mlp: "never" },
    qkNorm: "each_head",
    normType: "layer",
    normParameters: "weight_and_bias",
    parallel: "use_parallel_residual",
    parallelNorms: "shared",
    partialRotary: true,
    headsFillHidden: true,
  },
  config: { ...LLAMA.config, qkNormFlag: "qk_layernorm", normEpsKey: "layer_norm_eps" },
  stored: {
    ...LLAMA.stored,
    names: {
      "self_attn.q_norm": "self_attn.q_layernorm",
      "self_attn.k_norm": "self_attn.k_layernorm",
    },
    listsHeadNorms: true,
  },
  readers: {
    ...LLAMA.readers,
    vllmIgnores: ["activation", "parallel", "qk_norm"],
    vllmReadsHeadDim: false,
    standsIn: false,
    tokenizer: "file",
  },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 50_304, hidden: 2560, neurons: 6912, layers: 32, heads: 32 },
    normEps: 1e-5,
    positions: 4096,
    kvHeads: 32,
    rotaryPart: 0.25,
    tokenIds: { bos_token_id: 0, eos_token_id: 0, pad_token_id: null },
  },
};
