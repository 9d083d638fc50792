/** config.json derived from a `ModelSpec`, complete and never patched from another file. */
import { isDeepStrictEqual } from "node:util";
import { familyByName, REMOTE_CODE_PREFIX } from "../families/families.ts";
import { biasPart, type Family, type FamilyComputation, type TokenIds } from "../family.ts";
import { ffnLayers, hasFfn } from "../ffn_layers.ts";
import { attentionLayers, expertNeurons, type LayerSpec, type ModelSpec, queryHeads } from "../spec.ts";
import { withOwnKeys } from "./config_names.ts";
import { OWN_KEYS } from "./own_keys_formats.ts";
import { type ConfigKeys, maxPositionKey, ropeKeys } from "./rope_writer.ts";

/** Our modelling file, written beside a config.json that needs it. */
export const MODELLING_FILE = "modeling_gprune.py";

const ACTIVATION_NAMES: Readonly<Record<ModelSpec["activation"], string>> = {
  silu: "silu",
  gelu: "gelu",
  gelu_tanh: "gelu_pytorch_tanh",
  relu: "relu",
  relu2: "relu2",
  xielu: "xielu",
  // The class that has it reads no name.
  clamped_swiglu: "silu",
};

/** Keys whose values transformers declares as floats; version 5 refuses a whole number for some, 4 warns. */
const FLOAT_KEYS = [
  "activation_dropout",
  "attention_dropout",
  "attention_factor",
  "attention_in_multiplier",
  "attention_out_multiplier",
  "attn_logit_softcapping",
  "attn_pdrop",
  "beta_fast",
  "beta_slow",
  "clip_qkv",
  "dropout",
  "embedding_multiplier",
  "embd_pdrop",
  "factor",
  "final_logit_softcapping",
  "high_freq_factor",
  "initializer_range",
  "key_multiplier",
  "layerdrop",
  "lm_head_multiplier",
  "low_freq_factor",
  "mscale",
  "mscale_all_dim",
  "partial_rotary_factor",
  "resid_pdrop",
  "residual_dropout",
  "layer_norm_eps",
  "layer_norm_epsilon",
  "logit_scale",
  "norm_eps",
  "norm_epsilon",
  "rms_norm_eps",
  "softmax_scale",
  "ssm_in_multiplier",
  "ssm_out_multiplier",
  "rotary_pct",
  "hidden_dropout",
  "embedding_dropout",
  "rope_local_base_freq",
  "rope_theta",
  "route_scale",
  "moe_routed_scaling_factor",
  "routed_scaling_factor",
  "router_jitter_noise",
] as const;
const WHOLE_FLOATS = new RegExp(`^( *"(?:${FLOAT_KEYS.join("|")})": -?\\d+)(,?)$`, "gm");

/** The same of lists. */
const FLOAT_LISTS = /^ *"(?:mlp_multipliers|ssm_multipliers|activation_sparsity_pattern)": \[[^\]]*\]/gm;
const WHOLE_ITEMS = /^( *-?\d+)(,?)$/gm;

/** config.json as text, in which floats of Python have a decimal point. */
export function configText(config: ConfigKeys): string {
  const text = JSON.stringify(config, null, 2).replaceAll(WHOLE_FLOATS, "$1.0$2");
  return `${text.replaceAll(FLOAT_LISTS, (list) => list.replaceAll(WHOLE_ITEMS, "$1.0$2"))}\n`;
}

/** How config.json presents a model. */
export interface HfForm {
  /** The family that it is written as: its own, or another that computes the same. */
  readonly family: Family;
  /** Whether it needs our modelling file, and so `trust_remote_code`. */
  readonly remoteCode: boolean;
}

/**
 * config.json of a model in a form. Where widths differ between layers, the usual keys have the largest; for classes
 * whose heads fill the hidden state, whatever our modelling file replaces, that many heads.
 * @param dtype - transformers' name of the stored dtype, e.g. `float16`
 */
export function configOf(spec: ModelSpec, { family, remoteCode }: HfForm, dtype: string): ConfigKeys {
  const widest = (width: (layer: LayerSpec) => number): number => Math.max(...spec.layers.map(width));
  const { computes, config } = family;
  const fillsHidden = remoteCode && computes.headsFillHidden;
  const keys = {
    architectures: [family.architecture],
    model_type: family.modelType,
    dtype,
    vocab_size: spec.vocabSize,
    hidden_size: spec.hiddenSize,
    head_dim: spec.headDim,
    num_hidden_layers: spec.layers.length,
    intermediate_size: widestFfn(spec),
    num_attention_heads: fillsHidden ? Math.floor(spec.hiddenSize / spec.headDim) : widest(queryHeads),
    num_key_value_heads: widest((layer) => layer.kvGroups),
    ...Object.fromEntries(config.activationKeys.map((key) => [key, ACTIVATION_NAMES[spec.activation]])),
    ...(config.normEpsKey === null ? {} : { [config.normEpsKey]: spec.normEps }),
    ...(typeof computes.parallel === "string" ? { [computes.parallel]: spec.parallel } : {}),
    ...(config.qkNormFlag === null ? {} : { [config.qkNormFlag]: spec.qkNorm !== null }),
    ...maxPositionKey(spec),
    tie_word_embeddings: spec.tiedEmbeddings,
    ...(remoteCode ? {} : biasFlags(spec, family)),
    ...(computes.unrotated === "all" ? {} : ropeKeys(spec, family)),
    ...windowKeys(spec, family),
    ...(config.ownKeys === null ? {} : OWN_KEYS[config.ownKeys].write(spec, remoteCode)),
    ...(computes.unrotated === "flags"
      ? { no_rope_layers: spec.layers.map(({ rope }) => Number(rope !== null)) }
      : {}),
    ...scaleKeys(spec, family),
    ...(computes.clipsProjections ? { clip_qkv: spec.projectionClip } : {}),
    ...softcapKeys(spec, family),
    ...(remoteCode ? remoteCodeKeys(spec, family) : {}),
    ...tokenIdKeys(spec, family),
    ...spec.extra,
  };
  return withOwnKeys(keys, family);
}

/** The neurons of the widest FFN, or of the widest expert in a model where all FFNs have experts. */
function widestFfn({ layers }: ModelSpec): number {
  const present = ffnLayers({ layers });
  const dense = present.filter(({ experts }) => experts === undefined);
  return Math.max(...(dense.length > 0 ? dense : present).map(expertNeurons));
}

/** Default token ids of the model's own family that the family it is written as does not share. */
function tokenIdKeys(spec: ModelSpec, { defaults }: Family): ConfigKeys {
  const { tokenIds } = familyByName(spec.family, "model").defaults;
  const unshared = Object.entries(tokenIds).filter(
    ([key, id]) => !isDeepStrictEqual(id, defaults.tokenIds[key as keyof TokenIds]),
  );
  return Object.fromEntries(unshared);
}

/**
 * Keys for our own modelling file (resources/modeling_gprune.py): the widths of every layer under `per_layer_config`
 * (transformers' heterogeneous configurations), and exactly the biases that exist. vLLM asks for `AutoModel`, the
 * decoder without its head.
 */
function remoteCodeKeys(
  spec: ModelSpec,
  { modelType, architecture, configClass, computes }: Family,
): ConfigKeys {
  const { layers } = spec;
  const [anyAttention] = attentionLayers(spec);
  const [anyFfn] = ffnLayers(spec);
  const widths = layers.map((layer, index) => {
    // Layers without attention get the heads of another, those without an FFN its neurons, which no program reads:
    // numbers must be positive.
    const heads = layer.mixer === undefined ? layer : anyAttention!;
    return [
      String(index),
      {
        intermediate_size: expertNeurons(hasFfn(layer) ? layer : anyFfn!),
        num_attention_heads: queryHeads(heads),
        num_key_value_heads: heads.kvGroups,
      },
    ];
  });
  const module = MODELLING_FILE.replace(/[.]py$/, "");
  return {
    architectures: [`Gprune${architecture}`],
    model_type: `${REMOTE_CODE_PREFIX}${modelType}`,
    auto_map: {
      AutoConfig: `${module}.Gprune${configClass}`,
      AutoModel: `${module}.Gprune${configClass.replace(/Config$/, "Model")}`,
      AutoModelForCausalLM: `${module}.Gprune${architecture}`,
    },
    allow_global_per_layer_attribute_access: true,
    // A class with head sizes by layer has these alone in `per_layer_config`, alike in all layers of a type.
    [computes.headDimByLayer ? "layer_widths" : "per_layer_config"]: Object.fromEntries(widths),
    projection_biases: layers.map(({ biases }) => biases),
  };
}

/** A flag is set as soon as one of its projections has a bias; the others' biases are then stored as zeros. */
function biasFlags({ layers }: ModelSpec, { computes: { biases } }: Family): ConfigKeys {
  const present = layers.flatMap((layer) => layer.biases);
  const flags: ConfigKeys = {};
  for (const part of ["qkv", "o", "mlp"] as const) {
    const flag = biases[part];
    if (flag === "never" || flag === "always") continue;
    flags[flag] = flags[flag] === true || present.some((projection) => biasPart(projection) === part);
  }
  return flags;
}

function scaleKeys(spec: ModelSpec, { computes, config: { logitScale } }: Family): ConfigKeys {
  const scores: Readonly<Record<FamilyComputation["scoreScale"], ConfigKeys>> = {
    head_dim: {},
    query_pre_attn_scalar: { query_pre_attn_scalar: Math.round(spec.attentionScale ** -2 * 1e6) / 1e6 },
    attention_multiplier: { attention_multiplier: spec.attentionScale },
    none: {},
  };
  const factors = {
    embedding_multiplier: spec.embeddingScale,
    residual_multiplier: spec.residualScale,
  };
  const { logitDivisor } = spec;
  return {
    ...scores[computes.scoreScale],
    ...(logitScale && { [logitScale.key]: logitScale.is === "divisor" ? logitDivisor : 1 / logitDivisor }),
    ...(computes.multipliers ? factors : {}),
  };
}

/** An absent cap is written as null where the class would assume one. */
function softcapKeys({ scoreSoftcap, logitSoftcap }: ModelSpec, { defaults }: Family): ConfigKeys {
  const scores = scoreSoftcap !== null || defaults.scoreSoftcap !== undefined;
  const logits = logitSoftcap !== null || defaults.logitSoftcap !== undefined;
  return {
    ...(scores ? { attn_logit_softcapping: scoreSoftcap } : {}),
    ...(logits ? { final_logit_softcapping: logitSoftcap } : {}),
  };
}

function windowKeys(
  { layers }: ModelSpec,
  { computes: { windows, unrotated }, config: { windowSwitch }, defaults }: Family,
): ConfigKeys {
  if (windows === "none") return {};
  const window = layers.find((layer) => layer.window !== null)?.window ?? null;
  if (windows === "attention_types") {
    const types = layers.map((layer) => (layer.window === null ? "global" : "local"));
    return { sliding_window: window ?? defaults.window, attention_types: [[types, 1]] };
  }
  if (windows !== "layer_types" && windows !== "all_or_layer_types")
    return { sliding_window: window, ...(windowSwitch && { use_sliding_window: window !== null }) };
  // Classes of families with alternating layers build a mask for windows even where no layer has one; for one, a length
  // says that layers without windows are not rotated.
  const needsLength =
    unrotated === "unwindowed"
      ? layers.some(({ rope }) => rope === null)
      : defaults.windowPattern !== undefined;
  return {
    sliding_window: window ?? (needsLength ? defaults.window : null),
    use_sliding_window: window !== null,
    layer_types: layers.map((layer) => (layer.window === null ? "full_attention" : "sliding_attention")),
  };
}
