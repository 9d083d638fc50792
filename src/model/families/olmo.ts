/** OLMo 1, 2 and 3 (configuration and modeling files of transformers by the names olmo, olmo2 and olmo3). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";

const OLMO_DEFAULTS = {
  ...LLAMA.defaults,
  sizes: { vocab: 50_304, hidden: 4096, neurons: 11_008, layers: 32, heads: 32 },
  normEps: 1e-5,
  tokenIds: { bos_token_id: null, eos_token_id: 50_279, pad_token_id: 1 },
} as const;

/** Norms have no parameters. */
export const OLMO: Family = {
  ...LLAMA,
  modelType: "olmo",
  architecture: "OlmoForCausalLM",
  configClass: "OlmoConfig",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    normType: "layer",
    normParameters: "none",
    clipsProjections: true,
  },
  config: { ...LLAMA.config, normEpsKey: null, scalingTypeKey: "type" },
  readers: { ...LLAMA.readers, vllmClass: false, standsIn: false },
  defaults: OLMO_DEFAULTS,
};

export const OLMO2: Family = {
  ...LLAMA,
  modelType: "olmo2",
  architecture: "Olmo2ForCausalLM",
  configClass: "Olmo2Config",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    qkNorm: "projection",
    norms: "after",
    headsDivideHidden: false,
  },
  config: { ...LLAMA.config, scalingTypeKey: "type" },
  readers: { ...LLAMA.readers, vllmClass: false, standsIn: false, tokenizer: "file" },
  defaults: OLMO_DEFAULTS,
};

export const OLMO3: Family = {
  ...OLMO2,
  modelType: "olmo3",
  architecture: "Olmo3ForCausalLM",
  configClass: "Olmo3Config",
  computes: { ...OLMO2.computes, windows: "layer_types", ropeByLayerType: true },
  config: { ...OLMO2.config, scalingTypeKey: "rope_type" },
  defaults: {
    ...OLMO_DEFAULTS,
    ropeTheta: 500_000,
    window: 4096,
    windowPattern: 4,
    localRopeTheta: 500_000,
  },
};
