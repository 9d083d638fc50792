/** MiniCPM 3 (configuration_minicpm3.py and modeling_minicpm3.py of transformers). */
import type { Family } from "../family.ts";
import { DEEPSEEK_V3 } from "./deepseek.ts";
import { LLAMA } from "./llama.ts";

/** DeepSeek's attention in a Llama with factors on embeddings, blocks and logits. vLLM's class has no biases. */
export const MINICPM3: Family = {
  ...LLAMA,
  modelType: "minicpm3",
  architecture: "MiniCPM3ForCausalLM",
  configClass: "MiniCPM3Config",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "never", o: "attention_bias", mlp: "mlp_bias" },
    latents: true,
    kvHeads: "each",
  },
  config: { ...LLAMA.config, ownKeys: "minicpm3" },
  stored: { ...DEEPSEEK_V3.stored, rotatedOrder: "halves" },
  readers: {
    ...LLAMA.readers,
    transformersSince: "5.13",
    vllmOmits: ["qkv", "o", "mlp"],
    transformersJs: LLAMA,
    standsIn: false,
    tokenizer: "file",
  },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 73_448, hidden: 2560, neurons: 6400, layers: 62, heads: 40 },
    normEps: 1e-5,
    positions: 32_768,
    tiedEmbeddings: true,
  },
};
