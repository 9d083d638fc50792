/**
 * A model family: what it computes, in switches of `ModelSpec`, how its config.json and its tensors say it, and how
 * programs read them. families/ has those that there are.
 */

import type { FamilyTensors } from "./family_tensors.ts";
import type { Projection } from "./projections.ts";
import type { RopeScaling } from "./rope_spec.ts";
import type { Activation, ModelSpec, NormPlacement, QkNorm } from "./spec.ts";

/** Flags of config.json for biases. */
export type BiasFlag =
  | "attention_bias"
  | "attention_out_bias"
  | "mlp_bias"
  | "use_bias"
  | "use_qkv_bias"
  | "enable_bias"
  | "bias";

/** Whether projections carry biases: always, never, or as a flag in config.json says. */
export type BiasRule = "never" | "always" | BiasFlag;

/** Keys of config.json for the epsilon of the norms. */
export const NORM_EPS_KEYS = [
  "rms_norm_eps",
  "layer_norm_eps",
  "layer_norm_epsilon",
  "norm_epsilon",
  "norm_eps",
] as const;

type ActivationKey = "hidden_act" | "hidden_activation";

/** Projections that have biases together or not at all. */
export type BiasPart = "qkv" | "o" | "mlp";

/** Ids of special tokens, as config.json has them; null for none. */
export type TokenIds = Readonly<
  Record<"bos_token_id" | "eos_token_id" | "pad_token_id", number | readonly number[] | null>
>;

/**
 * Names of the keys of a rotation (configuration_gpt_neox.py has its own). That of GPT-J is a number of channels, with
 * the class's base and no scaling (modeling_gptj.py).
 */
export type RotaryKeys =
  | { readonly theta: "rope_theta"; readonly part: "partial_rotary_factor" }
  | { readonly theta: "rotary_emb_base"; readonly part: "rotary_pct" }
  | { readonly theta: null; readonly part: "rotary_dim" };

/** A key of config.json whose value the logits are multiplied or divided by. */
export interface LogitScale {
  readonly key: "logit_scale" | "logits_scaling";
  readonly is: "factor" | "divisor";
}

/** Families whose classes have keys of their own. */
export type OwnKeysName =
  | "afmoe"
  | "bloom"
  | "cohere2_moe"
  | "deepseek_v2"
  | "deepseek_v3"
  | "dots1"
  | "ernie4_5_moe"
  | "exaone_moe"
  | "falcon"
  | "falcon_h1"
  | "flex_olmo"
  | "gemma3n"
  | "gemma4"
  | "glm4_moe"
  | "glm4_moe_lite"
  | "gpt_oss"
  | "granite_hybrid"
  | "granitemoe"
  | "granitemoeshared"
  | "granite_swa"
  | "granitemoe_swa"
  | "hunyuan_v1_moe"
  | "lfm2"
  | "lfm2_moe"
  | "lfm3"
  | "minicpm5_moe"
  | "laguna"
  | "llama4"
  | "mellum"
  | "minicpm3"
  | "minimax_m2"
  | "mistral4"
  | "mixtral"
  | "mpt"
  | "nemotron_h"
  | "olmo_hybrid"
  | "olmoe"
  | "phimoe"
  | "qwen2_moe"
  | "qwen3_5"
  | "qwen3_5_moe"
  | "qwen3_moe"
  | "qwen3_next"
  | "solar_open";

/** Sizes of the model that a class makes without a configuration. */
export interface ClassSizes {
  readonly vocab: number;
  readonly hidden: number;
  readonly neurons: number;
  readonly layers: number;
  readonly heads: number;
}

/** One row of the table of families. */
export interface Family {
  /** `model_type` in config.json. */
  readonly modelType: string;
  /** Class name under `architectures`. */
  readonly architecture: string;
  /** Class name of the configuration. */
  readonly configClass: string;
  readonly computes: FamilyComputation;
  readonly config: FamilyConfig;
  readonly stored: FamilyTensors;
  readonly readers: FamilyReaders;
  readonly defaults: FamilyDefaults;
}

/** Switches of a model that its family alone settles. */
type SettledSwitches = Pick<
  ModelSpec,
  | "gated"
  | "gatedAttention"
  | "softplusGates"
  | "valueNorm"
  | "attentionSinks"
  | "layerScalars"
  | "headBias"
  | "normType"
  | "normOffset"
  | "normParameters"
  | "learnedPositions"
  | "embeddingNorm"
>;

/** What the class computes; `ModelSpec` explains terms that are not explained here. */
export interface FamilyComputation extends SettledSwitches {
  readonly biases: Readonly<Record<BiasPart, BiasRule>>;
  readonly norms: NormPlacement;
  readonly qkNorm: QkNorm | null;
  /** Whether blocks are parallel, or as this flag in config.json says. */
  readonly parallel: boolean | "use_parallel_residual";
  /** `norms` of models with parallel blocks. */
  readonly parallelNorms: NormPlacement;
  /** Token embeddings are multiplied by sqrt(C). */
  readonly scaledEmbeddings: boolean;
  /** config.json gives factors on embeddings and on additions to the residual stream (Granite). */
  readonly multipliers: boolean;
  /** Query-key products are multiplied by this quantity to the power -1/2, by `attention_multiplier` itself, or not. */
  readonly scoreScale: "head_dim" | "query_pre_attn_scalar" | "attention_multiplier" | "none";
  /** The class clips queries, keys and values where config.json gives a limit, `clip_qkv`. */
  readonly clipsProjections: boolean;
  /** The class caps attention scores where config.json gives a cap. */
  readonly capsScores: boolean;
  /** The class caps logits where config.json gives a cap. */
  readonly capsLogits: boolean;
  /**
   * Which layers have a sliding window: none, all, those that `layer_types` names, all unless `layer_types` is there to
   * name them, or those that `attention_types` calls local (configuration_gpt_neo.py).
   */
  readonly windows: "none" | "all" | "layer_types" | "all_or_layer_types" | "attention_types";
  /**
   * Layers that are not rotated: none; all; those that `no_rope_layers` says, which have the windows where these are
   * used and `layer_types` is absent (configuration_smollm3.py); those without a window in models that have a length
   * for windows (modeling_exaone4.py); or those without a window in models that must have such a length
   * (modeling_cohere2.py).
   */
  readonly unrotated: "none" | "all" | "flags" | "unwindowed" | "full_attention";
  /** The class can rotate a part of each head. */
  readonly partialRotary: boolean;
  /**
   * Scalings of rotary frequencies that the class accepts: all; all but proportional ones; only longrope, for heads of
   * C / N, and in transformers 4 with no other keys than `type`, `short_factor` and `long_factor`
   * (configuration_phi3.py); or only longrope with `short_mscale` and `long_mscale` instead of an attention factor
   * (configuration_phimoe.py).
   */
  readonly scaledRotary: "all" | "usual" | "longrope" | "longrope_mscales";
  /** Separate rotary parameters for windowed layers. */
  readonly ropeByLayerType: boolean;
  /** Layers may have FFNs of different widths, `intermediate_size` being a list (configuration_gemma3n.py). */
  readonly neuronsByLayer?: true;
  /**
   * Layers may have a head size of their own in `per_layer_config` (configuration_gemma4.py).
   */
  readonly headDimByLayer: boolean;
  /** The class reads `llama_4_scaling_beta` (`YarnScaling.queryGrowth`); YaRN with that key is all it takes. */
  readonly growsQueries: boolean;
  /**
   * Attention is latent (`LatentSpec`), and `mscale_all_dim` of YaRN sharpens scores further; it is not, and does not,
   * where absent.
   */
  readonly latents?: true;
  /** The base of dynamic scaling with `alpha` is theta * alpha^(H / (H - 2)), whatever the length of a text. */
  readonly scalesBase: boolean;
  /** Key/value heads: any number, or whatever config.json says one for each query head, or one for all. */
  readonly kvHeads: "any" | "each" | "one";
  /** The class takes heads of C / N, whatever config.json says. */
  readonly headsFillHidden: boolean;
  /** The class refuses a hidden size that is no multiple of the number of query heads. */
  readonly headsDivideHidden: boolean;
}

/** How config.json says it: its keys, and what the class reads of them. */
export interface FamilyConfig {
  /** Keys of config.json that have other names than the usual ones: own by usual. */
  readonly names: Readonly<Record<string, string>>;
  /** Those of them that the class also reads by their usual names, which count where both are there. */
  readonly aliases: readonly string[];
  /** Further keys that the class reads, with the only values that are computed here, which are the class's own. */
  readonly fixedKeys: Readonly<Record<string, boolean | number | string>>;
  /**
   * Where config.json keeps the activation's name: the first is read, all are written (vLLM's gemma2.py wants both).
   */
  readonly activationKeys: readonly [ActivationKey, ...ActivationKey[]];
  /** The activation of the class, whatever name config.json has for it; that which the name means where absent. */
  readonly ownActivation?: Activation;
  /** `gelu` in config.json means its tanh approximation (configuration_gemma.py). */
  readonly geluIsTanh: boolean;
  /** Null where config.json has none and the class's own value counts. */
  readonly normEpsKey: (typeof NORM_EPS_KEYS)[number] | null;
  /** The flag of config.json without which there are no norms on queries and keys; null where there is none. */
  readonly qkNormFlag: "qk_layernorm" | "use_qk_norm" | null;
  /** The key of config.json that scales the logits, and how; null where there is none. */
  readonly logitScale: LogitScale | null;
  /** Keys, besides `rope_parameters`, for the base of the rotation and for the part of heads that it turns. */
  readonly rotaryKeys: RotaryKeys;
  /**
   * The key of a scaling's type in `rope_scaling`. The classes of Phi-3 and OLMo 2 in transformers 4 want the older
   * one, the latter with linear and dynamic scaling only (configuration_phi3.py, configuration_olmo2.py). Null for a
   * class without `rope_scaling`, to which that key would be `rope_parameters` (configuration_gemma4.py).
   */
  readonly scalingTypeKey: "rope_type" | "type" | null;
  /** Names of scalings that mean another type to the class than to others (configuration_phi3.py). */
  readonly scalingNames: Readonly<Record<string, RopeScaling["type"] | "default">>;
  /** vLLM's class wants all settings of YaRN in config.json (gpt_oss.py); usual ones are left out where absent. */
  readonly saysTurns?: true;
  /** The class reads `sliding_window_pattern` where `layer_types` is absent. */
  readonly readsWindowPattern: boolean;
  /** The class reads `use_sliding_window`; others ignore it. */
  readonly windowSwitch: boolean;
  /**
   * `model_max_length` is the longest sequence, where config.json has it, to all programs that ask: vLLM and
   * llama.cpp's conversion (commandr.py, conversion/command_r.py).
   */
  readonly readsMaxLength: boolean;
  /** Keys that no other class has (hf/own_keys_formats.ts); null for none. */
  readonly ownKeys: OwnKeysName | null;
}

/** How other programs read the family's files. */
export interface FamilyReaders {
  /** The oldest version of transformers that has the class, of 4.57 and later ones. */
  readonly transformersSince: string;
  /** AutoModelForCausalLM does not know the class, so that the family's models need our modelling file. */
  readonly notAuto?: true;
  /** vLLM has a class of its own for the family (registry.py of 0.33). */
  readonly vllmClass: boolean;
  /** transformers' class runs in vLLM's backend for these; else it does not take the backend's attention. */
  readonly vllmBackend: boolean;
  /** vLLM's class takes the head size from config.json; else it assumes C / N (qwen2.py). */
  readonly vllmReadsHeadDim: boolean;
  /**
   * What config.json may have and vLLM's class computes otherwise (stablelm.py, commandr.py, olmoe.py, gpt_oss.py,
   * llama4.py, gemma3n.py) or refuses (gpt_j.py).
   */
  readonly vllmIgnores: readonly (
    | "activation"
    | "attention_biases"
    | "clipping"
    | "expert_layers"
    | "expert_shares"
    | "late_dense_layers"
    | "mixer"
    | "neurons"
    | "norm_eps"
    | "parallel"
    | "qk_norm"
    | "separate_head"
    | "shared_layers"
    | "tied_head"
    | "window"
    | "windowed_layers"
    | "yarn"
  )[];
  /** What vLLM's class computes in experts, whatever config.json says; SiLU where absent. */
  readonly vllmExperts?: Activation;
  /** Biases that transformers' class has and vLLM's silently leaves out (qwen3.py, qwen3_next.py, gemma.py). */
  readonly vllmOmits: readonly BiasPart[];
  /**
   * Names by which transformers.js loads the family's ONNX files, which compute everything themselves; null for its
   * own, which transformers.js must know.
   */
  readonly transformersJs: Pick<Family, "modelType" | "architecture"> | null;
  /**
   * The class may load models of other families that compute the same. False where other readers infer more from the
   * name than config.json says: llama.cpp's conversion ignores the head size of a Granite (conversion/granite.py), and
   * llama.cpp leaves each 4th layer of a SmolLM3 unrotated (smollm3.cpp).
   */
  readonly standsIn: boolean;
  /**
   * How transformers 5 builds the tokenizer: by the class that tokenizer_config.json declares, which in published files
   * may be one that splits otherwise than tokenizer.json; from tokenizer.json whatever is declared; or by a class of
   * the family's own, which splits and decodes in its own way (tokenization_auto.py).
   */
  readonly tokenizer: "declared" | "misdeclared" | "file" | "own";
}

/** Values of the family where config.json has none. */
export interface FamilyDefaults {
  readonly sizes: ClassSizes;
  readonly tiedEmbeddings: boolean;
  readonly normEps: number;
  readonly ropeTheta: number;
  /** The scaling of rotary frequencies where config.json has no key of one; none where absent. */
  readonly scaling?: RopeScaling;
  /** Whether that scaling also goes with another `rope_theta` in all versions of the class; false when absent. */
  readonly scalesAnyBase?: true;
  /** `max_position_embeddings` */
  readonly positions: number;
  /** F / C, where config.json may leave out F. */
  readonly neuronRatio?: number;
  /** The value of `logitScale`'s key; 1 where absent. */
  readonly logitScale?: number;
  /** `num_key_value_heads`; where absent, the number of query heads. */
  readonly kvHeads?: number;
  /** Length before scaling, of classes with a default for it, which overrides the scaling's own parameter. */
  readonly originalPositions?: number;
  /** Ids of tokens that begin and end texts and fill batches. */
  readonly tokenIds: TokenIds;
  /** Its name in config.json. */
  readonly activation: string;
  /** Where absent, C / N. */
  readonly headDim?: number;
  /** `query_pre_attn_scalar`, where `scoreScale` is that. */
  readonly scoreScalar?: number;
  /** `attention_multiplier`, where `scoreScale` is that; H^-1/2 where absent. */
  readonly attentionMultiplier?: number;
  /** Caps of scores and logits, where the class has any. */
  readonly scoreSoftcap?: number;
  readonly logitSoftcap?: number;
  /** Tokens that layers with a window see; null for none. */
  readonly window: number | null;
  /** The value of `qkNormFlag`; not set where absent. */
  readonly qkNorm?: boolean;
  /** Whether blocks are parallel, where config.json may say so; not where absent. */
  readonly parallel?: boolean;
  /** Flags for biases that are set. */
  readonly biased: readonly BiasFlag[];
  /** Fraction of a head's channels that is rotated; 1 where absent. */
  readonly rotaryPart?: number;
  /** `rotary_dim`, where the class reads it. */
  readonly rotaryDim?: number;
  /** Base for windowed layers, where they differ. */
  readonly localRopeTheta?: number;
  /** Versions of transformers disagree on whether `rope_theta` alone is the base for windowed layers, too. */
  readonly disputedRopeTheta?: true;
  /** n where every n-th layer has no window, in configurations older than `layer_types`. */
  readonly windowPattern?: number;
  /** Of those n layers, the first has no window instead of the last. */
  readonly firstUnwindowed?: boolean;
  /** The first layer with a window where there is no such pattern; `max_window_layers` in config.json. */
  readonly firstWindowed?: number;
  /** n where every n-th layer is not rotated. */
  readonly unrotatedEvery?: number;
}

/** The projections that a projection has its bias together with. */
export function biasPart(projection: Projection): BiasPart {
  if (projection === "o_proj") return "o";
  return /^[qkv]_/.test(projection) ? "qkv" : "mlp";
}

/** The switches that a family settles, without the rest of what it computes. */
export function settledSwitches(computes: FamilyComputation): SettledSwitches {
  const { gated, gatedAttention, headBias, normType, normOffset, normParameters } = computes;
  const { learnedPositions, embeddingNorm, valueNorm, attentionSinks, layerScalars } = computes;
  return {
    gated,
    gatedAttention,
    ...(computes.softplusGates && { softplusGates: true }),
    headBias,
    normType,
    normOffset,
    normParameters,
    learnedPositions,
    embeddingNorm,
    valueNorm,
    attentionSinks,
    layerScalars,
  };
}
