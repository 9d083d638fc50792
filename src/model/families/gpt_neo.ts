/** GPT-Neo, also TinyStories (configuration_gpt_neo.py and modeling_gpt_neo.py of transformers). */
import type { Family } from "../family.ts";
import { GPT2 } from "./gpt2.ts";

export const GPT_NEO: Family = {
  ...GPT2,
  modelType: "gpt_neo",
  architecture: "GPTNeoForCausalLM",
  configClass: "GPTNeoConfig",
  computes: {
    ...GPT2.computes,
    biases: { qkv: "never", o: "always", mlp: "always" },
    scoreScale: "none",
    windows: "attention_types",
  },
  config: {
    ...GPT2.config,
    names: {
      num_hidden_layers: "num_layers",
      num_attention_heads: "num_heads",
      hidden_act: "activation_function",
      sliding_window: "window_size",
    },
    aliases: ["num_hidden_layers", "num_attention_heads"],
    fixedKeys: {},
  },
  stored: {
    ...GPT2.stored,
    fused: [],
    names: {
      input_layernorm: "ln_1",
      "self_attn.q_proj": "attn.attention.q_proj",
      "self_attn.k_proj": "attn.attention.k_proj",
      "self_attn.v_proj": "attn.attention.v_proj",
      "self_attn.o_proj": "attn.attention.out_proj",
      post_attention_layernorm: "ln_2",
      "mlp.up_proj": "mlp.c_fc",
      "mlp.down_proj": "mlp.c_proj",
    },
    transposed: false,
  },
  readers: { ...GPT2.readers, vllmClass: false },
  defaults: {
    ...GPT2.defaults,
    sizes: { vocab: 50_257, hidden: 2048, neurons: 8192, layers: 24, heads: 16 },
    positions: 2048,
    window: 256,
  },
};
