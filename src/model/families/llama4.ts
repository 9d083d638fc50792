/** Llama 4, without experts such as MobileLLM-R1 (configuration_llama4.py and modeling_llama4.py of transformers). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";
import { namesOfShared } from "./qwen.ts";

export const LLAMA4: Family = {
  ...LLAMA,
  modelType: "llama4_text",
  architecture: "Llama4ForCausalLM",
  configClass: "Llama4TextConfig",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    qkNorm: "unweighted",
    unrotated: "flags",
    headsDivideHidden: false,
  },
  config: {
    ...LLAMA.config,
    qkNormFlag: "use_qk_norm",
    names: { intermediate_size: "intermediate_size_mlp", moe_intermediate_size: "intermediate_size" },
    ownKeys: "llama4",
  },
  stored: {
    ...LLAMA.stored,
    rotatedOrder: "pairs",
    names: {
      "mlp.gate_proj": "feed_forward.gate_proj",
      "mlp.up_proj": "feed_forward.up_proj",
      "mlp.down_proj": "feed_forward.down_proj",
      "mlp.gate": "feed_forward.router",
      ...namesOfShared("feed_forward.shared_expert"),
    },
    experts: [
      { name: "feed_forward.experts.gate_up_proj", parts: ["gate_proj", "up_proj"], transposed: true },
      { name: "feed_forward.experts.down_proj", parts: ["down_proj"], transposed: true },
    ],
  },
  readers: {
    ...LLAMA.readers,
    vllmIgnores: ["activation", "expert_layers"],
    vllmOmits: ["qkv", "o"],
    standsIn: false,
  },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 202_048, hidden: 5120, neurons: 16_384, layers: 48, heads: 40 },
    normEps: 1e-5,
    ropeTheta: 500_000,
    positions: 131_072,
    kvHeads: 8,
    headDim: 128,
    qkNorm: true,
    unrotatedEvery: 4,
  },
};
