/** gpt-oss (configuration_gpt_oss.py and modeling_gpt_oss.py of transformers). */
import type { Family } from "../family.ts";
import { YARN_DEFAULTS, yarnAttentionFactor } from "../rope_spec.ts";
import { LLAMA } from "./llama.ts";

const GATE_AND_UP = ["gate_proj", "up_proj"] as const;

/** All layers have experts, and every other one a window. */
export const GPT_OSS: Family = {
  ...LLAMA,
  modelType: "gpt_oss",
  architecture: "GptOssForCausalLM",
  configClass: "GptOssConfig",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "always" },
    attentionSinks: true,
    windows: "layer_types",
    headsDivideHidden: false,
  },
  config: {
    ...LLAMA.config,
    ownActivation: "clamped_swiglu",
    fixedKeys: { swiglu_alpha: 1.702, swiglu_limit: 7 },
    saysTurns: true,
    ownKeys: "gpt_oss",
  },
  stored: {
    ...LLAMA.stored,
    names: { "mlp.gate": "mlp.router" },
    experts: [
      { name: "mlp.experts.gate_up_proj", parts: GATE_AND_UP, interleaved: true, transposed: true },
      { name: "mlp.experts.gate_up_proj_bias", parts: GATE_AND_UP, interleaved: true, bias: true },
      { name: "mlp.experts.down_proj", parts: ["down_proj"], transposed: true },
      { name: "mlp.experts.down_proj_bias", parts: ["down_proj"], bias: true },
    ],
  },
  readers: {
    ...LLAMA.readers,
    vllmIgnores: ["attention_biases", "windowed_layers", "yarn"],
    transformersJs: LLAMA,
    standsIn: false,
    tokenizer: "file",
  },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 201_088, hidden: 2880, neurons: 2880, layers: 36, heads: 64 },
    normEps: 1e-5,
    ropeTheta: 150_000,
    scaling: {
      ...{ ...YARN_DEFAULTS, type: "yarn", factor: 32, truncate: false },
      ...{ originalMaxPositions: 4096, attentionFactor: yarnAttentionFactor(32) },
    },
    scalesAnyBase: true,
    positions: 131_072,
    kvHeads: 8,
    headDim: 64,
    biased: ["attention_bias"],
    window: 128,
    windowPattern: 2,
    tokenIds: { bos_token_id: null, eos_token_id: null, pad_token_id: null },
  },
};
