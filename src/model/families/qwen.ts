/** Qwen2 and Qwen3 (configuration_qwen2.py, configuration_qwen3.py and modeling files of transformers). */
import type { Family } from "../family.ts";
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
  alsoNamed: ["qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text"],
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
  alsoNamed: ["qwen3_vl_text"],
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
