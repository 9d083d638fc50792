/** nanochat (configuration_nanochat.py and modeling_nanochat.py of transformers). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";

export const NANOCHAT: Family = {
  ...LLAMA,
  modelType: "nanochat",
  architecture: "NanoChatForCausalLM",
  configClass: "NanoChatConfig",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    gated: false,
    qkNorm: "unweighted",
    normParameters: "none",
    embeddingNorm: true,
    capsLogits: true,
    headsDivideHidden: false,
  },
  stored: {
    ...LLAMA.stored,
    rotatedOrder: "swapped_halves",
    names: { "mlp.up_proj": "mlp.fc1", "mlp.down_proj": "mlp.fc2" },
  },
  readers: { ...LLAMA.readers, transformersSince: "5.0", vllmClass: false, standsIn: false },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 50_304, hidden: 768, neurons: 8192, layers: 12, heads: 6 },
    tokenIds: { bos_token_id: 0, eos_token_id: 1, pad_token_id: 1 },
    activation: "relu2",
    logitSoftcap: 15,
  },
};
