/** StarCoder 2 (configuration_starcoder2.py and modeling_starcoder2.py of transformers). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";

export const STARCODER2: Family = {
  ...LLAMA,
  modelType: "starcoder2",
  architecture: "Starcoder2ForCausalLM",
  configClass: "Starcoder2Config",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "use_bias", o: "use_bias", mlp: "use_bias" },
    gated: false,
    normType: "layer",
    normParameters: "weight_and_bias",
    windows: "all",
    headsDivideHidden: false,
  },
  config: { ...LLAMA.config, normEpsKey: "norm_epsilon" },
  stored: { ...LLAMA.stored, names: { "mlp.up_proj": "mlp.c_fc", "mlp.down_proj": "mlp.c_proj" } },
  readers: { ...LLAMA.readers, vllmClass: false, standsIn: false },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 49_152, hidden: 3072, neurons: 12_288, layers: 30, heads: 24 },
    tiedEmbeddings: true,
    normEps: 1e-5,
    positions: 4096,
    kvHeads: 2,
    tokenIds: { bos_token_id: 50_256, eos_token_id: 50_256, pad_token_id: null },
    activation: "gelu_pytorch_tanh",
    biased: ["use_bias"],
  },
};
