/**
 * Nemotron-H, Nemotron Nano 2 and Nemotron 3 (configuration_nemotron_h.py and modeling_nemotron_h.py of transformers).
 * Each layer is one block with one norm: Mamba 2, attention without rotation, or an FFN.
 */
import type { Family } from "../family.ts";
import { LLAMA } from "./llama.ts";

export const NEMOTRON_H: Family = {
  ...LLAMA,
  modelType: "nemotron_h",
  architecture: "NemotronHForCausalLM",
  configClass: "NemotronHConfig",
  computes: {
    ...LLAMA.computes,
    biases: { qkv: "never", o: "never", mlp: "mlp_bias" },
    gated: false,
    norms: "shared",
    unrotated: "all",
    headsDivideHidden: false,
  },
  config: {
    ...LLAMA.config,
    names: { hidden_act: "mlp_hidden_act" },
    // Attention of the class has no biases, whatever config.json says; NVIDIA's own class for published files has.
    fixedKeys: { attention_bias: false, mamba_hidden_act: "silu", mlp_hidden_act: "relu2" },
    normEpsKey: "layer_norm_epsilon",
    ownKeys: "nemotron_h",
  },
  stored: {
    ...LLAMA.stored,
    prefixes: { decoder: "backbone.", head: "lm_head." },
    names: {
      input_layernorm: "norm",
      "mamba.in_proj": "mixer.in_proj",
      "mamba.conv1d": "mixer.conv1d",
      "mamba.norm": "mixer.norm",
      "mamba.out_proj": "mixer.out_proj",
      mamba: "mixer",
      "self_attn.q_proj": "mixer.q_proj",
      "self_attn.k_proj": "mixer.k_proj",
      "self_attn.v_proj": "mixer.v_proj",
      "self_attn.o_proj": "mixer.o_proj",
      "mlp.up_proj": "mixer.up_proj",
      "mlp.down_proj": "mixer.down_proj",
      "mlp.gate": "mixer.gate",
      "mlp.experts": "mixer.experts",
      "mlp.shared_expert.up_proj": "mixer.shared_experts.up_proj",
      "mlp.shared_expert.down_proj": "mixer.shared_experts.down_proj",
    },
    experts: [
      { name: "mixer.experts.*.up_proj.weight", parts: ["up_proj"] },
      { name: "mixer.experts.*.down_proj.weight", parts: ["down_proj"] },
    ],
    outerNames: { embed_tokens: "embeddings", norm: "norm_f" },
  },
  readers: {
    ...LLAMA.readers,
    transformersSince: "5.3",
    vllmBackend: false,
    vllmExperts: "relu2",
    standsIn: false,
  },
  defaults: {
    ...LLAMA.defaults,
    sizes: { vocab: 131_072, hidden: 4096, neurons: 21_504, layers: 4, heads: 32 },
    normEps: 1e-5,
    positions: 4096,
    kvHeads: 8,
    headDim: 128,
    tokenIds: { bos_token_id: 1, eos_token_id: 2, pad_token_id: 0 },
    activation: "relu2",
  },
};
