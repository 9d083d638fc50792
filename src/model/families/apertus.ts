/** Apertus (configuration_apertus.py and modeling_apertus.py of transformers). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";

export const APERTUS: Family = {
  ...LLAMA,
  modelType: "apertus",
  architecture: "ApertusForCausalLM",
  configClass: "ApertusConfig",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    gated: false,
    qkNorm: "head",
    headsDivideHidden: false,
  },
  stored: {
    ...LLAMA.stored,
    names: {
      input_layernorm: "attention_layernorm",
      post_attention_layernorm: "feedforward_layernorm",
    },
  },
  readers: { ...LLAMA.readers, standsIn: false },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 131_072, hidden: 4096, neurons: 14_336, layers: 32, heads: 32 },
    normEps: 1e-5,
    ropeTheta: 12_000_000,
    scaling: { type: "llama3", factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 8192 },
    positions: 65_536,
    tokenIds: { bos_token_id: 1, eos_token_id: 2, pad_token_id: 3 },
    activation: "xielu",
  },
};
