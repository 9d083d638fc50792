/**
 * What is to be known of an architecture of GGUF files: its family, how llama.cpp stores it and which models it loads.
 * architectures.ts has the table.
 *
 * Facts from conversion/ and src/models/ of ggml-org/llama.cpp; loading was tried with its release v0.5.0.
 */

import type { ExpertsSpec } from "../experts_spec.ts";
import type { ActiveMixer } from "../mixer_spec.ts";
import { PROJECTIONS, type Projection } from "../projections.ts";
import type { Activation } from "../spec.ts";

/** The models that llama.cpp can load under the name of an architecture. */
export interface GgufLoads {
  /** Families that it computes. */
  readonly families: readonly string[];
  /** Layers may have different widths; else llama.cpp builds every layer like the first. */
  readonly perLayerWidths: boolean;
  /** Layers may have different numbers of heads, also in a group, if not of neurons; they may where widths may differ. */
  readonly perLayerHeads: boolean;
  /** Most layers. */
  readonly maxLayers: number;
  /** Number of layers from which on norms of queries and keys must exist, and below which not; null: as the family. */
  readonly qkNormFrom: number | null;
  /** Activations besides the architecture's own that models may have; llama.cpp does not tell them apart. */
  readonly otherActivations: readonly Activation[];
  /** Projections that may carry a bias. */
  readonly biases: readonly Projection[];
  /** Those of them that must: zeros are written for biases that a model lacks, but not for experts'. */
  readonly requiredBiases: readonly Projection[];
  /** The query heads together must be as wide as the hidden state, N * H = C. */
  readonly fullWidthAttention: boolean;
  /** So must the key heads, K * H = C. */
  readonly fullWidthKeys: boolean;
  /** Query heads may share a key head; else llama.cpp builds as many of these, K = N. */
  readonly groupedQueries: boolean;
  /** Whether the output matrix must be the embedding, or must not be it. */
  readonly head: "any" | "tied" | "separate";
  /** Rotary frequencies may be divided by Llama 3's factors. */
  readonly rotaryFactors: boolean;
  /** Rotary frequencies may be divided by LongRoPE's factors. */
  readonly longrope: boolean;
  /** A part of each head may stay unrotated. */
  readonly partialRotation: boolean;
  /** Sliding windows are computed; else every token sees all before it. */
  readonly windows: boolean;
  /** Logits may have a soft cap. */
  readonly logitSoftcap: boolean;
}

/** What is to be known of experts, which a layer has as many and as wide as another. */
export interface GgufExperts {
  /**
   * Routing weights add up to 1 (`norm_w` of `build_moe_ffn` in llama-graph.cpp); null where the file
   * says whether they do.
   */
  readonly normalised: boolean | null;
  /** Their width has a key of its own; else it is that of the FFN. */
  readonly ownWidth: boolean;
  /**
   * Beside them is a shared expert: with a gate; or without one, in files that have a width of it; or without
   * one, a whole number of times as wide as the others; or without one, in files that say so many times and perhaps
   * another width; or without one, the FFN of the layer, which is as wide as the key of FFNs says. Null for none.
   */
  readonly shared: "gated" | "open" | "multiple" | "counted" | "ffn" | null;
  /** What the experts and the shared one give is averaged. */
  readonly averaged: boolean;
  /** The file may say that experts of some groups alone are picked, those with the largest sums of two scores. */
  readonly grouped: boolean;
  /** How scores are made and corrected, and which norms and factors there are, the same in all files. */
  readonly scores: Pick<
    ExpertsSpec,
    "biased" | "sigmoid" | "corrected" | "divisor" | "ownNorms" | "ownScales"
  >;
  /** The file says whether scores are sigmoids; they are where it does not. */
  readonly saysScores: boolean;
  /** A file has gate_proj and up_proj of an expert in one matrix, one after the other. */
  readonly joined: boolean;
  /** The file has a factor on routing weights. */
  readonly scaled: boolean;
  /** The first layers may have none, as many as the file says; else all layers have some. */
  readonly afterDense: boolean;
  /** The file says which of the layers after those have some: each n-th; llama.cpp loads files with all alone. */
  readonly stepped: boolean;
}

/** An architecture. */
export interface GgufArchitecture {
  /** Key into the table of families (families.ts). */
  readonly family: string;
  /**
   * The family of files whose queries grow with their position (`YarnScaling.queryGrowth`); in all files of the
   * architecture, YaRN leaves the scores as they are. Null for none.
   */
  readonly growingFamily: string | null;
  /** The family of files with a sliding window; null where it is the same. */
  readonly windowedFamily: string | null;
  /** Of models that are read. */
  readonly activation: Activation;
  /** Rows of q_proj and k_proj are in pairs (rotary_rows.ts), as llama.cpp rotates neighbouring channels. */
  readonly permuted: boolean;
  /** Names of parts of a layer that differ from those of other architectures (names.ts): of modules, or of tensors. */
  readonly names: Readonly<Record<string, string>>;
  /** The same of tensors outside the layers. */
  readonly outerNames: Readonly<Record<string, string>>;
  /** What layers may have in place of attention, or have beside it (mixers.ts); null for attention alone. */
  readonly mixer: ActiveMixer["type"] | null;
  /** All layers have it beside attention. */
  readonly beside: boolean;
  /**
   * Each layer is one block: attention where it has key/value heads, an FFN where it has neurons, else the mixer
   * (nemotron-h.cpp). Heads and neurons of a layer may be none.
   */
  readonly blocks: boolean;
  /**
   * Value heads of delta rules are in tiles (value_heads.ts); else in groups, and strengths and rates of one key head
   * after another in one tensor.
   */
  readonly tiledHeads: boolean;
  /**
   * Rotated channels have sections for positions in time, height and width, which are the same in texts; llama.cpp asks
   * for their sizes.
   */
  readonly ropeSections: boolean;
  /** A file may have layers after those of the model, to guess further tokens (keys.ts): they are left out. */
  readonly guessingLayers: boolean;
  /**
   * What says whether blocks are parallel: the family, the file's `use_parallel_residual`, or that there is no norm
   * before the FFN (in stablelm.cpp, which ignores that key).
   */
  readonly parallel: "family" | "key" | "no_ffn_norm";
  /** llama.cpp asks for the epsilon of LayerNorms, too, which models do not have. */
  readonly bothEpsilons: boolean;
  /** Norms are RMS norms or LayerNorms, as the name of the epsilon says that the file has. */
  readonly saysNorms: boolean;
  /** Norm weights are stored with the family's offset added, 1 + w. */
  readonly offsetNorms: boolean;
  /** Projections whose rows are stored one after another in one tensor, by the tensor's name. */
  readonly fused: Readonly<Record<string, readonly Projection[]>>;
  /** How the vocabulary of type "llama" becomes merges: by score, or by position in the file. */
  readonly mergeOrder: "score" | "position";
  /** Vocabularies with space signs are written with their merges, as type "gemma4", and not with scores. */
  readonly keepsMerges: boolean;
  /**
   * Layers with a sliding window where the file has a window and no pattern: all but each n-th; 0: all layers; null:
   * none.
   */
  readonly fullAttentionEvery: number | null;
  /** Of these n, the first layer is the one without a window, not the last. */
  readonly firstUnwindowed: boolean;
  /** The file says which layers have a window, by a flag for each. */
  readonly windowFlags: boolean;
  /** Tokens of the window where the file has no key; null: none. */
  readonly defaultWindow: number | null;
  /** Queries, keys and values are clipped where the file gives a limit. */
  readonly clips: boolean;
  /** Cap of the scores where the file has no key; null: scores are never capped. */
  readonly defaultScoreSoftcap: number | null;
  /** Cap of the logits where the file has no key; null: none. */
  readonly defaultLogitSoftcap: number | null;
  /** A cap of 0 in the file says that logits have none. */
  readonly zeroUncaps: boolean;
  /** Each n-th layer is not rotated; null: all are. */
  readonly unrotatedEvery: number | null;
  /**
   * Scores have ALiBi, with the slopes of as many heads as there are; `key`: the file says with which exponents. Null
   * for none.
   */
  readonly alibi: "always" | "key" | null;
  /**
   * Base of the rotation in windowed layers, which are not scaled, where the file has no key; "full": that of the others;
   * null: all layers have the same rotation.
   */
  readonly localRopeTheta: number | "full" | null;
  /** The file says which part of heads turns in windowed layers, and YaRN's attention factor is not theirs. */
  readonly localRotation: boolean;
  /** The file says how often pairs of channels turn that YaRN stretches or not. */
  readonly readsTurns: boolean;
  /** Models have YaRN with rounded bounds, as llama.cpp computes; else with exact ones, which llama.cpp rounds, too. */
  readonly roundsYarn: boolean;
  /** Layers with a window are rotated without the scaling of the others. */
  readonly unscaledWindows: boolean;
  /** Layers without a window are not rotated if others have one. */
  readonly unrotatedUnwindowed: boolean;
  /** Those are rotated all the same that have no experts. */
  readonly rotatedDense: boolean;
  /** Windows, and what depends on them, exist in models of this many layers only; null: in all. */
  readonly windowsAtLayers: number | null;
  /** Number of layers of the one model size whose scores are scaled by (C / N)^-1/2 instead of H^-1/2; null: none. */
  readonly hiddenScaledLayers: number | null;
  /**
   * The file has factors on embeddings, scores and additions to the residual stream; and `rope.scaling.finetuned` says
   * whether heads are rotated at all.
   */
  readonly multipliers: boolean;
  /** Factors on embeddings, on logits, and of blocks are part of the weights (folded.ts). */
  readonly folded: boolean;
  /** Models whose heads are not rotated at all belong to the family, too. */
  readonly unrotatedModels: boolean;
  /**
   * Layers with and without a window are of two kinds, each with its own size of heads and rotation, and the file says
   * which layers are of which; those without have a tensor of rotary factors. The last layers may take keys and values
   * of earlier ones, and layers may have inputs of their own (layer_kinds.ts).
   */
  readonly twoKinds: boolean;
  /** Tokens have several hidden states between layers, and what comes with them in Gemma 3n (streams.ts). */
  readonly streams: boolean;
  /** Gates of attention are for channels or for heads, as the number of their rows says. */
  readonly gatesByRows: boolean;
  /** Attention is latent (latents.ts). */
  readonly latents: boolean;
  /** Null where files have no experts; then the same name may stand for another architecture in files with some. */
  readonly experts: GgufExperts | null;
  /** Files without experts say so, as llama.cpp asks for numbers of them. */
  readonly saysNoExperts: boolean;
  /** Whether the file's `logit_scale` divides or multiplies the logits; null where there is none. */
  readonly logitScale: "divisor" | "factor" | null;
  readonly loads: GgufLoads;
}

/** Families that compute what Llama does. */
export const LLAMA_LIKE: readonly string[] = [
  "llama",
  "mistral",
  "ministral",
  "cwm",
  "seed_oss",
  "ernie4_5",
  "helium",
];

export const LLAMA_LOADS: GgufLoads = {
  families: LLAMA_LIKE,
  perLayerWidths: false,
  perLayerHeads: false,
  // LLAMA_MAX_LAYERS of llama.cpp.
  maxLayers: 512,
  qkNormFrom: null,
  otherActivations: [],
  biases: PROJECTIONS,
  requiredBiases: [],
  fullWidthAttention: false,
  fullWidthKeys: false,
  groupedQueries: true,
  head: "any",
  rotaryFactors: true,
  longrope: true,
  partialRotation: false,
  windows: false,
  logitSoftcap: false,
};
export const NO_EXTRAS: GgufLoads = { ...LLAMA_LOADS, biases: [], rotaryFactors: false, longrope: false };
export const READ_ONLY: GgufLoads = { ...NO_EXTRAS, families: [] };

export const QKV: readonly Projection[] = ["q_proj", "k_proj", "v_proj"];
export const FUSED_QKV: GgufArchitecture["fused"] = { attn_qkv: QKV };

export const LLAMA: GgufArchitecture = {
  family: "llama",
  growingFamily: null,
  windowedFamily: null,
  activation: "silu",
  permuted: true,
  names: {},
  outerNames: {},
  mixer: null,
  beside: false,
  blocks: false,
  tiledHeads: true,
  ropeSections: false,
  guessingLayers: false,
  parallel: "family",
  bothEpsilons: false,
  saysNorms: false,
  offsetNorms: false,
  fused: {},
  mergeOrder: "score",
  keepsMerges: false,
  fullAttentionEvery: null,
  firstUnwindowed: false,
  windowFlags: false,
  defaultWindow: null,
  clips: false,
  defaultScoreSoftcap: null,
  defaultLogitSoftcap: null,
  zeroUncaps: false,
  unrotatedEvery: null,
  alibi: null,
  localRopeTheta: null,
  localRotation: false,
  readsTurns: false,
  roundsYarn: true,
  unscaledWindows: false,
  unrotatedUnwindowed: false,
  rotatedDense: false,
  windowsAtLayers: null,
  hiddenScaledLayers: null,
  multipliers: false,
  folded: false,
  unrotatedModels: false,
  twoKinds: false,
  streams: false,
  gatesByRows: false,
  latents: false,
  experts: null,
  saysNoExperts: false,
  logitScale: null,
  loads: LLAMA_LOADS,
};
