/** Seed-OSS (configuration_seed_oss.py, modeling_seed_oss.py of transformers). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";

export const SEED_OSS: Family = {
  ...LLAMA,
  modelType: "seed_oss",
  architecture: "SeedOssForCausalLM",
  configClass: "SeedOssConfig",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "attention_bias", o: "attention_out_bias", mlp: "mlp_bias" },
    headsDivideHidden: false,
  },
  readers: { ...LLAMA.readers, vllmClass: false, transformersJs: LLAMA, standsIn: false },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 155_136, hidden: 4096, neurons: 27_648, layers: 64, heads: 80 },
    positions: 524_288,
    kvHeads: 8,
    headDim: 128,
    tokenIds: { bos_token_id: 0, eos_token_id: 2, pad_token_id: 1 },
    biased: ["attention_bias"],
  },
};
