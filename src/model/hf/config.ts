/**
 * Reads the config.json of a Hugging Face checkpoint into a `ModelSpec`; config_writer.ts is the inverse. Nothing else
 * of the file is trusted: keys that name code, paths or flags are dropped, and a short list of harmless settings is
 * carried along.
 */
import { z } from "zod";
import { plainName } from "../../base/plain_text.ts";
import { wrongValues } from "../../base/wrong_values.ts";
import { GpruneError } from "../../errors.ts";
import { familyByName, REMOTE_CODE_PREFIX } from "../families/families.ts";
import { biasPart, type Family, settledSwitches } from "../family.ts";
import { PROJECTIONS, type Projection } from "../projections.ts";
import { stretchedPositions } from "../rope_layers.ts";
import { type LayerSpec, MAX_HEADS, type ModelSpec, queryHeads } from "../spec.ts";
import { projectionsOf } from "../weights.ts";
import { ownKey, withOwnPaths, withUsualKeys } from "./config_names.ts";
import { isRotated, LAYER_TYPE_KEYS, windowOf } from "./layer_types.ts";
import { layerKey, MAX_LAYERS, MAX_SIZE, size } from "./limits.ts";
import { OWN_KEYS } from "./own_keys_formats.ts";
import { badConfig, type Context, ROPE_KEYS, ropeOf } from "./rope.ts";
import { unsupportedHint } from "./unsupported.ts";

/** Other settings of a single layer are refused, since they would change what it computes. */
const layerOverride = z.strictObject({
  intermediate_size: size.optional(),
  num_attention_heads: size.optional(),
  num_key_value_heads: size.optional(),
  head_dim: size.optional(),
});

const tokenIds = z.union([z.int(), z.array(z.int()).max(100)]).nullish();

const epsilon = z.number().nonnegative().optional();

/** Fraction of activations that training sets to zero, 0..1. */
const dropout = z.number().min(0).max(1).nullish();

/** Settings carried to the output unchanged. */
const carried = z.object({
  bos_token_id: tokenIds,
  eos_token_id: tokenIds,
  pad_token_id: tokenIds,
  initializer_range: z.number().nullish(),
  attention_dropout: dropout,
  activation_dropout: dropout,
  attn_pdrop: dropout,
  dropout,
  layerdrop: dropout,
  embd_pdrop: dropout,
  resid_pdrop: dropout,
  residual_dropout: dropout,
  hidden_dropout: dropout,
  embedding_dropout: dropout,
  use_cache: z.boolean().nullish(),
});

const BIDIRECTIONAL = "expected causal attention; bidirectional attention is not supported";

/** Bounded, as its inverse is used too. */
const logitScale = z.number().min(1e-30).max(1e30).optional();

const schema = carried.extend({
  ...ROPE_KEYS,
  ...LAYER_TYPE_KEYS,
  model_type: z.string(),
  vocab_size: size,
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: size.max(MAX_LAYERS),
  num_attention_heads: size,
  num_key_value_heads: size.nullish(),
  head_dim: size.nullish(),
  rms_norm_eps: epsilon,
  layer_norm_eps: epsilon,
  layer_norm_epsilon: epsilon,
  norm_epsilon: epsilon,
  norm_eps: epsilon,
  hidden_act: z.string().optional(),
  hidden_activation: z.string().nullish(),
  max_position_embeddings: size.optional(),
  // Files of families without the key may have any number here.
  model_max_length: size.nullish().catch(null),
  tie_word_embeddings: z.boolean().optional(),
  attention_bias: z.boolean().optional(),
  attention_out_bias: z.boolean().optional(),
  mlp_bias: z.boolean().optional(),
  use_bias: z.boolean().optional(),
  use_qkv_bias: z.boolean().optional(),
  enable_bias: z.boolean().optional(),
  bias: z
    .boolean()
    .nullish()
    .transform((flag) => flag ?? undefined),
  use_parallel_residual: z.boolean().optional(),
  qk_layernorm: z.boolean().nullish(),
  use_qk_norm: z.boolean().nullish(),
  query_pre_attn_scalar: z.number().positive().optional(),
  embedding_multiplier: z.number().positive().default(1),
  attention_multiplier: z.number().positive().nullish(),
  residual_multiplier: z.number().positive().default(1),
  logits_scaling: logitScale,
  logit_scale: logitScale,
  final_logit_softcapping: z.number().positive().nullish(),
  attn_logit_softcapping: z.number().positive().nullish(),
  clip_qkv: z.number().positive().nullish(),
  use_bidirectional_attention: z.literal(false, { error: BIDIRECTIONAL }).nullish(),
  is_causal: z.literal(true, { error: BIDIRECTIONAL }).optional(),
  per_layer_config: z.record(layerKey, layerOverride).nullish(),
  projection_biases: z.array(z.array(z.enum(PROJECTIONS))).optional(),
});
type Config = z.infer<typeof schema> & { readonly max_position_embeddings: number };

const ACTIVATIONS: Readonly<Record<string, ModelSpec["activation"]>> = {
  silu: "silu",
  swish: "silu",
  gelu_pytorch_tanh: "gelu_tanh",
  gelu_new: "gelu_tanh",
  gelu_fast: "gelu_tanh",
  gelu: "gelu",
  relu: "relu",
  relu2: "relu2",
  xielu: "xielu",
};

/**
 * The spec that a config.json describes.
 * @param config - parsed config.json
 * @param where - the file, for messages
 * @throws GpruneError UNSUPPORTED for an unknown family or feature, BAD_CONFIG for values out of range
 */
export function readConfig(config: unknown, where: string): ModelSpec {
  const family = familyOfConfig(config, where);
  const settings = config as Readonly<Record<string, unknown>>;
  refuseOtherSettings(settings, { family, where });
  const own = family.config.ownKeys === null ? null : OWN_KEYS[family.config.ownKeys].read(settings, where);
  const result = schema.safeParse(withUsualKeys(own?.usual ?? settings, family));
  if (!result.success) {
    throw new GpruneError("BAD_CONFIG", `${where}: ${wrongValues(withOwnPaths(result.error, family))}`);
  }
  const { max_position_embeddings: usual = family.defaults.positions, model_max_length: longest } =
    result.data;
  const max_position_embeddings = family.config.readsMaxLength ? (longest ?? usual) : usual;
  const spec = specOf({ ...result.data, max_position_embeddings }, { family, where });
  return own === null ? spec : own.complete(spec);
}

const furtherLayers = size.max(MAX_LAYERS).optional().catch(undefined);
const predicting = z.object({ num_nextn_predict_layers: furtherLayers, num_mtp_modules: furtherLayers });

/**
 * Layers that follow those of the decoder in a checkpoint, and predict further tokens (arXiv 2404.19737: GLM-4.5,
 * MiniMax-M2). They are not read.
 */
export function predictingLayers(config: unknown): number {
  const { num_nextn_predict_layers: layers, num_mtp_modules: modules } = predicting.parse(config);
  return layers ?? modules ?? 0;
}

/** @throws GpruneError UNSUPPORTED for an unknown family, BAD_CONFIG without one */
function familyOfConfig(config: unknown, where: string): Family {
  const modelType = z.looseObject({ model_type: z.string() }).safeParse(config);
  if (!modelType.success) {
    const message = `${where}: expected a JSON object with a "model_type": ${wrongValues(modelType.error)}`;
    throw new GpruneError("BAD_CONFIG", message);
  }
  const name = modelType.data.model_type;
  return familyByName(
    name.startsWith(REMOTE_CODE_PREFIX) ? name.slice(REMOTE_CODE_PREFIX.length) : name,
    where,
    () => unsupportedHint(modelType.data),
  );
}

function specOf(config: Config, context: Context): ModelSpec {
  const { family } = context;
  const { computes } = family;
  const parallel = isParallel(config, family);
  const defaultHeadDim = config.head_dim === undefined ? family.defaults.headDim : undefined;
  const headDim = config.head_dim ?? defaultHeadDim ?? config.hidden_size / config.num_attention_heads;
  if (!Number.isInteger(headDim)) {
    const [size, heads] = ["hidden_size", "num_attention_heads"].map((key) => ownKey(key, family));
    const other = computes.headsFillHidden ? "" : "head_dim, or ";
    throw badConfig(context, `${other}${size} divisible by ${heads}`, headDim);
  }
  const layers = Array.from({ length: config.num_hidden_layers }, (_, index) =>
    layerOf(config, context, { index, headDim }),
  );
  const heads = layers.reduce((sum, layer) => sum + queryHeads(layer), 0);
  if (heads > MAX_HEADS) throw badConfig(context, `at most ${MAX_HEADS} query heads in all layers`, heads);
  return {
    family: family.modelType,
    vocabSize: config.vocab_size,
    hiddenSize: config.hidden_size,
    headDim,
    layers,
    tiedEmbeddings: config.tie_word_embeddings ?? family.defaults.tiedEmbeddings,
    activation: activationOf(config, context),
    normEps: (family.config.normEpsKey && config[family.config.normEpsKey]) ?? family.defaults.normEps,
    ...settledSwitches(computes),
    perLayerInputs: null,
    qkNorm: hasQkNorm(config, family) ? computes.qkNorm : null,
    norms: parallel ? computes.parallelNorms : computes.norms,
    parallel,
    ...scalesOf(config, family),
    attentionScale: attentionScaleOf(config, family, headDim),
    projectionClip: computes.clipsProjections ? (config.clip_qkv ?? null) : null,
    ...softcapsOf(config, family),
    maxPositions: maxPositionsOf(config, context, layers),
    extra: carried.parse(config),
  };
}

/** The longest sequence, tokens: people add YaRN to a config.json and leave the length as it was. */
function maxPositionsOf(
  { max_position_embeddings: longest }: Config,
  context: Context,
  layers: readonly LayerSpec[],
): number {
  const stretched = stretchedPositions({ layers });
  if (stretched <= MAX_SIZE) return Math.max(longest, stretched);
  throw badConfig(context, `RoPE scaling to at most ${MAX_SIZE} positions`, stretched);
}

/** Factors on embeddings and on the outputs of attention and FFN, and the divisor of the logits. */
function scalesOf(
  config: Config,
  { computes, config: { logitScale }, defaults }: Family,
): Pick<ModelSpec, "embeddingScale" | "residualScale" | "logitDivisor"> {
  const scale = (logitScale && config[logitScale.key]) ?? defaults.logitScale ?? 1;
  const logitDivisor = logitScale?.is === "factor" ? 1 / scale : scale;
  if (computes.multipliers) {
    const { embedding_multiplier: embeddingScale, residual_multiplier: residualScale } = config;
    return { embeddingScale, residualScale, logitDivisor };
  }
  const embeddingScale = computes.scaledEmbeddings ? Math.sqrt(config.hidden_size) : 1;
  return { embeddingScale, residualScale: 1, logitDivisor };
}

function hasQkNorm(config: Config, { config: { qkNormFlag }, defaults }: Family): boolean {
  return qkNormFlag === null || (config[qkNormFlag] ?? defaults.qkNorm ?? false);
}

function isParallel(config: Config, { computes: { parallel }, defaults }: Family): boolean {
  return typeof parallel === "boolean" ? parallel : (config[parallel] ?? defaults.parallel ?? false);
}

function softcapsOf(
  config: Config,
  { computes, defaults }: Family,
): Pick<ModelSpec, "scoreSoftcap" | "logitSoftcap"> {
  // Null is no cap, absent the class's own.
  const {
    attn_logit_softcapping: scoreSoftcap = defaults.scoreSoftcap,
    final_logit_softcapping: logitSoftcap = defaults.logitSoftcap,
  } = config;
  return {
    scoreSoftcap: computes.capsScores ? (scoreSoftcap ?? null) : null,
    logitSoftcap: computes.capsLogits ? (logitSoftcap ?? null) : null,
  };
}

function attentionScaleOf(
  config: Config,
  { computes: { scoreScale }, defaults }: Family,
  headDim: number,
): number {
  if (scoreScale === "attention_multiplier") {
    const { attention_multiplier: given = defaults.attentionMultiplier } = config;
    return given ?? headDim ** -0.5;
  }
  if (scoreScale === "none") return 1;
  const scalar = config.query_pre_attn_scalar ?? defaults.scoreScalar ?? headDim;
  return (scoreScale === "head_dim" ? headDim : scalar) ** -0.5;
}

function layerOf(
  config: Config,
  context: Context,
  { index, headDim: usualHeadDim }: { readonly index: number; readonly headDim: number },
): LayerSpec {
  const override = config.per_layer_config?.[String(index)] ?? {};
  const headDim = override.head_dim ?? usualHeadDim;
  if (headDim !== usualHeadDim && !context.family.computes.headDimByLayer)
    throw badConfig(context, `head_dim ${usualHeadDim} in all layers`, `${headDim} in layer ${index}`);
  const heads = override.num_attention_heads ?? config.num_attention_heads;
  const configured = override.num_key_value_heads ?? config.num_key_value_heads;
  const kvGroups = kvHeadsOf(configured, heads, context.family) ?? heads;
  if (heads % kvGroups !== 0) {
    throw badConfig(context, `num_attention_heads divisible by num_key_value_heads in layer ${index}`, heads);
  }
  const window = windowOf(config, context, index);
  return {
    neurons: override.intermediate_size ?? config.intermediate_size,
    kvGroups,
    groupSize: heads / kvGroups,
    ...(headDim !== usualHeadDim && { headDim }),
    window,
    rope: isRotated(config, context, index)
      ? ropeOf(config, context, { headDim, windowed: window !== null })
      : null,
    biases: config.projection_biases?.[index] ?? biasesOf(config, context.family),
  };
}

/** @throws GpruneError UNSUPPORTED for a key of the class with which it computes what is not computed here */
function refuseOtherSettings(config: Readonly<Record<string, unknown>>, { family, where }: Context): void {
  const other = Object.entries(family.config.fixedKeys).find(
    ([key, value]) => (config[key] ?? value) !== value,
  );
  if (other === undefined) return;
  const [key, value] = other;
  const got = plainName(JSON.stringify(config[key]));
  throw new GpruneError("UNSUPPORTED", `${where}: expected ${key} ${value}, got ${got}`, {
    hint: `Models of ${family.modelType} with another ${key} are not supported.`,
  });
}

/** The class's default counts only where it divides the query heads; no model was made with one that does not. */
function kvHeadsOf(
  configured: number | null | undefined,
  heads: number,
  { computes: { kvHeads }, defaults }: Family,
): number | null | undefined {
  if (kvHeads !== "any") return kvHeads === "one" ? 1 : undefined;
  if (configured !== undefined) return configured;
  return defaults.kvHeads !== undefined && heads % defaults.kvHeads === 0 ? defaults.kvHeads : undefined;
}

function biasesOf(config: Config, family: Family): readonly Projection[] {
  return projectionsOf(family.computes).filter((projection) => {
    const rule = family.computes.biases[biasPart(projection)];
    if (rule === "never" || rule === "always") return rule === "always";
    return config[rule] ?? family.defaults.biased.includes(rule);
  });
}

function activationOf(config: Config, context: Context): ModelSpec["activation"] {
  const { config: keys, defaults } = context.family;
  if (keys.ownActivation !== undefined) return keys.ownActivation;
  const name = config[keys.activationKeys[0]] ?? defaults.activation;
  if (name === "gelu" && keys.geluIsTanh) return "gelu_tanh";
  const activation = Object.hasOwn(ACTIVATIONS, name) ? ACTIVATIONS[name] : undefined;
  if (activation !== undefined) return activation;
  const expected = `one of the activations ${Object.keys(ACTIVATIONS).join(", ")}`;
  throw new GpruneError("UNSUPPORTED", `${context.where}: expected ${expected}, got ${name}`);
}
