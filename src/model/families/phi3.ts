/** Phi-3 and Phi-4-mini (configuration_phi3.py, modeling_phi3.py of transformers). */
import type { Family } from "../family.ts";
import { LLAMA, NO_BIASES } from "./llama.ts";

export const PHI3: Family = {
  ...LLAMA,
  modelType: "phi3",
  architecture: "Phi3ForCausalLM",
  configClass: "Phi3Config",
  computes: {
    ...LLAMA.computes,
    biases: NO_BIASES,
    windows: "all",
    partialRotary: true,
    scaledRotary: "longrope",
    headsDivideHidden: false,
  },
  config: { ...LLAMA.config, scalingTypeKey: "type", scalingNames: { su: "longrope", yarn: "longrope" } },
  stored: { ...LLAMA.stored, fused: ["qkv_proj", "gate_up_proj"] },
  readers: { ...LLAMA.readers, tokenizer: "file" },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 32_064, hidden: 3072, neurons: 8192, layers: 32, heads: 32 },
    normEps: 1e-5,
    positions: 4096,
    originalPositions: 4096,
    tokenIds: { bos_token_id: 1, eos_token_id: 32_000, pad_token_id: 32_000 },
  },
};
