/** OLMo 2 and 3 (configuration_olmo2.py, configuration_olmo3.py and modeling files of transformers). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";

const OLMO2_DEFAULTS = {
  ...LLAMA.defaults,
  sizes: { vocab: 50_304, hidden: 4096, neurons: 11_008, layers: 32, heads: 32 },
  normEps: 1e-5,
  tokenIds: { bos_token_id: null, eos_token_id: 50_279, pad_token_id: 1 },
} as const;

export const OLMO2: Family = {
  ...LLAMA,
  modelType: "olmo2",
  architecture: "Olmo2ForCausalLM",
  configClass: "Olmo2Config",
  biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
  qkNorm: "projection",
  norms: "after",
  scalingTypeKey: "type",
  headsDivideHidden: false,
  vllm: "transformers",
  standsIn: false,
  tokenizer: "file",
  defaults: OLMO2_DEFAULTS,
};

export const OLMO3: Family = {
  ...OLMO2,
  modelType: "olmo3",
  architecture: "Olmo3ForCausalLM",
  configClass: "Olmo3Config",
  windows: "layer_types",
  ropeByLayerType: true,
  scalingTypeKey: "rope_type",
  defaults: {
    ...OLMO2_DEFAULTS,
    ropeTheta: 500_000,
    window: 4096,
    windowPattern: 4,
    localRopeTheta: 500_000,
  },
};
