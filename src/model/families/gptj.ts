/** GPT-J (configuration_gptj.py and modeling_gptj.py of transformers); CodeGen, whose q, k and v are in one tensor. */
import type { Family } from "../family.ts";
import { GPT2 } from "./gpt2.ts";

export const GPTJ: Family = {
  ...GPT2,
  modelType: "gptj",
  architecture: "GPTJForCausalLM",
  configClass: "GPTJConfig",
  computes: {
    ...GPT2.computes,
    biases: { qkv: "never", o: "never", mlp: "always" },
    headBias: true,
    norms: "shared",
    parallel: true,
    parallelNorms: "shared",
    learnedPositions: null,
    unrotated: "none",
    partialRotary: true,
  },
  config: { ...GPT2.config, fixedKeys: {}, rotaryKeys: { theta: null, part: "rotary_dim" } },
  stored: {
    ...GPT2.stored,
    rotatedOrder: "pairs",
    fused: [],
    fusedInOthers: ["query_value_key"],
    names: {
      input_layernorm: "ln_1",
      "self_attn.query_value_key": "attn.qkv_proj",
      "self_attn.q_proj": "attn.q_proj",
      "self_attn.k_proj": "attn.k_proj",
      "self_attn.v_proj": "attn.v_proj",
      "self_attn.o_proj": "attn.out_proj",
      "mlp.up_proj": "mlp.fc_in",
      "mlp.down_proj": "mlp.fc_out",
    },
    outerNames: { embed_tokens: "wte", layers: "h", norm: "ln_f" },
    transposed: false,
  },
  readers: { ...GPT2.readers, vllmReadsHeadDim: false, vllmIgnores: ["tied_head"] },
  defaults: {
    ...GPT2.defaults,
    sizes: { vocab: 50_400, hidden: 4096, neurons: 16_384, layers: 28, heads: 16 },
    tiedEmbeddings: false,
    positions: 2048,
    rotaryDim: 64,
  },
};
