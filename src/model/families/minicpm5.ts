/** MiniCPM 5 with experts (configuration_minicpm5_moe.py, modeling_minicpm5_moe.py of transformers). */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";
import { EXPERTS_OF_MLP, SHARED_EXPERTS } from "./qwen.ts";

/** Experts are those of GLM-4.5, and attention is a Llama's, with gates. */
export const MINICPM5_MOE: Family = {
  ...LLAMA,
  modelType: "minicpm5_moe",
  architecture: "MiniCPM5MoeForCausalLM",
  configClass: "MiniCPM5MoeConfig",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "attention_bias", o: "attention_bias", mlp: "never" },
    gatedAttention: "q_proj",
    headsDivideHidden: false,
  },
  config: { ...LLAMA.config, fixedKeys: { use_gated_attention: true }, ownKeys: "minicpm5_moe" },
  stored: {
    ...LLAMA.stored,
    names: SHARED_EXPERTS,
    namesInMemory: { "self_attn.q_gate_proj": "self_attn.q_proj" },
    experts: EXPERTS_OF_MLP,
  },
  readers: {
    ...LLAMA.readers,
    transformersSince: "5.25",
    vllmClass: false,
    // vLLM 0.32 takes transformers before 5.20.
    vllmBackend: false,
    transformersJs: LLAMA,
    standsIn: false,
  },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 130_560, hidden: 2048, neurons: 8192, layers: 28, heads: 32 },
    ropeTheta: 5_000_000,
    positions: 524_288,
    kvHeads: 2,
    headDim: 128,
    tokenIds: { bos_token_id: 0, eos_token_id: [1, 130_073], pad_token_id: 1 },
  },
};
