/** Phi-3.5-MoE (configuration_phimoe.py, modeling_phimoe.py of transformers). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";
import { MIXTRAL } from "./mistral.ts";

/** A Mixtral with other norms, biases, and routers. The class of transformers 5.0 has other norms and tensors' names. */
export const PHIMOE: Family = {
  ...LLAMA,
  modelType: "phimoe",
  architecture: "PhimoeForCausalLM",
  configClass: "PhimoeConfig",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    normType: "layer",
    normParameters: "weight_and_bias",
    windows: "all",
    scaledRotary: "longrope_mscales",
    headsDivideHidden: false,
  },
  config: { ...LLAMA.config, ownKeys: "phimoe" },
  stored: { ...MIXTRAL.stored, namesInMemory: { "mlp.router": "block_sparse_moe.gate" } },
  readers: {
    ...LLAMA.readers,
    transformersSince: "5.1",
    vllmClass: false,
    transformersJs: LLAMA,
    standsIn: false,
    tokenizer: "file",
  },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 32_064, hidden: 4096, neurons: 6400, layers: 32, heads: 32 },
    normEps: 1e-5,
    ropeTheta: 1_000_000,
    positions: 131_072,
    kvHeads: 8,
  },
};
