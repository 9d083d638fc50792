/**
 * Falcon-H1, whose layers have attention and Mamba 2 side by side (configuration_falcon_h1.py and modeling_falcon_h1.py
 * of transformers).
 */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";

export const FALCON_H1: Family = {
  ...LLAMA,
  modelType: "falcon_h1",
  architecture: "FalconH1ForCausalLM",
  configClass: "FalconH1Config",
  computes: { ...LLAMA.computes, headsDivideHidden: false },
  config: { ...LLAMA.config, ownKeys: "falcon_h1" },
  stored: {
    ...LLAMA.stored,
    names: {
      post_attention_layernorm: "pre_ff_layernorm",
      "mlp.gate_proj": "feed_forward.gate_proj",
      "mlp.up_proj": "feed_forward.up_proj",
      "mlp.down_proj": "feed_forward.down_proj",
    },
    outerNames: { norm: "final_layernorm" },
  },
  readers: {
    ...LLAMA.readers,
    vllmBackend: false,
    vllmOmits: ["qkv", "o", "mlp"],
    vllmIgnores: ["mixer"],
    standsIn: false,
  },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 128_000, hidden: 4096, neurons: 14_336, layers: 32, heads: 32 },
    normEps: 1e-5,
    positions: 8192,
    kvHeads: 8,
    tokenIds: { bos_token_id: 1, eos_token_id: 2, pad_token_id: 0 },
  },
};
