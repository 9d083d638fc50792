/** Architectures of GGUF files whose models have LayerNorm (architecture.ts says what is to be known of each). */
import type { Projection } from "../projections.ts";
import { FUSED_QKV, type GgufArchitecture, type GgufLoads, LLAMA, NO_EXTRAS, QKV } from "./architecture.ts";

const OUTPUTS: readonly Projection[] = ["o_proj", "down_proj"];
const UNGATED: readonly Projection[] = [...QKV, ...OUTPUTS, "up_proj"];

/** All heads together are as wide as the hidden state, as in all of these architectures. */
const FULL_WIDTH: GgufLoads = { ...NO_EXTRAS, fullWidthAttention: true };
const HALVES: GgufArchitecture = { ...LLAMA, permuted: false };

const COHERE: GgufArchitecture = {
  ...LLAMA,
  family: "cohere",
  logitScale: "factor",
  loads: { ...FULL_WIDTH, families: ["cohere"], qkNormFrom: 64, biases: QKV, head: "tied" },
};

export const LAYER_NORM_ARCHITECTURES: readonly (readonly [string, GgufArchitecture])[] = [
  [
    "olmo",
    { ...LLAMA, family: "olmo", clips: true, loads: { ...FULL_WIDTH, families: ["olmo"], biases: QKV } },
  ],
  [
    "nemotron",
    {
      ...HALVES,
      family: "nemotron",
      activation: "relu2",
      offsetNorms: true,
      loads: {
        ...FULL_WIDTH,
        families: ["nemotron"],
        biases: UNGATED,
        head: "separate",
        partialRotation: true,
      },
    },
  ],
  // It ignores a window, which the file keeps for other readers.
  [
    "starcoder2",
    {
      ...HALVES,
      family: "starcoder2",
      activation: "gelu_tanh",
      fullAttentionEvery: 0,
      loads: {
        ...FULL_WIDTH,
        families: ["starcoder2"],
        biases: UNGATED,
        requiredBiases: [...OUTPUTS, "up_proj"],
      },
    },
  ],
  [
    "stablelm",
    {
      ...HALVES,
      family: "stablelm",
      parallel: "no_ffn_norm",
      loads: {
        ...FULL_WIDTH,
        families: ["stablelm"],
        biases: QKV,
        head: "separate",
        partialRotation: true,
      },
    },
  ],
  [
    "phi2",
    {
      ...HALVES,
      family: "phi",
      activation: "gelu_tanh",
      loads: {
        ...FULL_WIDTH,
        families: ["phi"],
        biases: UNGATED,
        requiredBiases: [...OUTPUTS, "up_proj"],
        head: "separate",
        partialRotation: true,
      },
    },
  ],
  // It computes the tanh approximation of GELU, whatever the model was trained with.
  [
    "gptneox",
    {
      ...HALVES,
      family: "gpt_neox",
      activation: "gelu",
      fused: FUSED_QKV,
      parallel: "key",
      loads: {
        ...FULL_WIDTH,
        families: ["gpt_neox"],
        otherActivations: ["gelu_tanh"],
        biases: UNGATED,
        requiredBiases: UNGATED,
        head: "separate",
        partialRotation: true,
      },
    },
  ],
  [
    "gpt2",
    {
      ...HALVES,
      family: "gpt2",
      activation: "gelu_tanh",
      fused: FUSED_QKV,
      unrotatedEvery: 1,
      loads: { ...FULL_WIDTH, families: ["gpt2"], biases: UNGATED, requiredBiases: UNGATED },
    },
  ],
  // StarCoder and SantaCoder: GPT-2 with one key/value head.
  [
    "starcoder",
    {
      ...HALVES,
      family: "gpt_bigcode",
      activation: "gelu_tanh",
      fused: FUSED_QKV,
      unrotatedEvery: 1,
      loads: { ...FULL_WIDTH, families: ["gpt_bigcode"], biases: UNGATED, requiredBiases: UNGATED },
    },
  ],
  [
    "jais2",
    {
      ...HALVES,
      family: "jais2",
      activation: "relu2",
      loads: {
        ...NO_EXTRAS,
        families: ["jais2"],
        biases: UNGATED,
        requiredBiases: [...OUTPUTS, "up_proj"],
      },
    },
  ],
  [
    "bloom",
    {
      ...HALVES,
      family: "bloom",
      activation: "gelu_tanh",
      fused: FUSED_QKV,
      unrotatedEvery: 1,
      alibi: "always",
      loads: { ...FULL_WIDTH, families: ["bloom"], biases: UNGATED, requiredBiases: UNGATED },
    },
  ],
  [
    "mpt",
    {
      ...HALVES,
      family: "mpt",
      activation: "gelu",
      fused: FUSED_QKV,
      unrotatedEvery: 1,
      alibi: "key",
      clips: true,
      loads: { ...FULL_WIDTH, families: ["mpt"], biases: UNGATED },
    },
  ],
  // Of Falcons with rotation, parallel blocks and one norm.
  [
    "falcon",
    {
      ...HALVES,
      family: "falcon",
      activation: "gelu",
      fused: FUSED_QKV,
      loads: { ...FULL_WIDTH, families: ["falcon"] },
    },
  ],
  ["command-r", COHERE],
  [
    "cohere2",
    {
      ...COHERE,
      family: "cohere2",
      fullAttentionEvery: 4,
      defaultWindow: 4096,
      unrotatedUnwindowed: true,
      loads: { ...COHERE.loads, families: ["cohere2"], qkNormFrom: null, windows: true },
    },
  ],
];
