/** Dense ERNIE 4.5 (configuration_ernie4_5.py, modeling_ernie4_5.py of transformers). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";

export const ERNIE4_5: Family = {
  ...LLAMA,
  modelType: "ernie4_5",
  architecture: "Ernie4_5ForCausalLM",
  configClass: "Ernie4_5Config",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "use_bias", o: "use_bias", mlp: "use_bias" },
    headsDivideHidden: false,
  },
  stored: { ...LLAMA.stored, rotatedOrder: "pairs" },
  readers: { ...LLAMA.readers, vllmOmits: ["qkv", "o", "mlp"], standsIn: false, tokenizer: "file" },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 103_424, hidden: 1024, neurons: 3072, layers: 18, heads: 16 },
    tiedEmbeddings: true,
    normEps: 1e-5,
    ropeTheta: 500_000,
    positions: 131_072,
    kvHeads: 2,
    headDim: 128,
    tokenIds: { bos_token_id: 1, eos_token_id: 2, pad_token_id: 0 },
  },
};
