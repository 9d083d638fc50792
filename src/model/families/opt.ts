/** OPT (configuration_opt.py and modeling_opt.py of transformers). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";

export const OPT: Family = {
  ...LLAMA,
  modelType: "opt",
  architecture: "OPTForCausalLM",
  configClass: "OPTConfig",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "enable_bias", o: "enable_bias", mlp: "enable_bias" },
    gated: false,
    normType: "layer",
    normParameters: "weight_and_bias",
    learnedPositions: { offset: 2 },
    unrotated: "all",
    kvHeads: "each",
    headsFillHidden: true,
  },
  config: {
    ...LLAMA.config,
    normEpsKey: null,
    names: { intermediate_size: "ffn_dim", hidden_act: "activation_function" },
    fixedKeys: {
      do_layer_norm_before: true,
      layer_norm_elementwise_affine: true,
      _remove_final_layer_norm: false,
    },
  },
  stored: {
    ...LLAMA.stored,
    prefixes: { decoder: "model.decoder.", head: "lm_head." },
    names: {
      input_layernorm: "self_attn_layer_norm",
      "self_attn.o_proj": "self_attn.out_proj",
      post_attention_layernorm: "final_layer_norm",
      "mlp.up_proj": "fc1",
      "mlp.down_proj": "fc2",
    },
    outerNames: { norm: "final_layer_norm" },
  },
  readers: { ...LLAMA.readers, standsIn: false },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 50_272, hidden: 768, neurons: 3072, layers: 12, heads: 12 },
    tiedEmbeddings: true,
    normEps: 1e-5,
    tokenIds: { bos_token_id: 2, eos_token_id: 2, pad_token_id: 1 },
    activation: "relu",
    biased: ["enable_bias"],
  },
};
