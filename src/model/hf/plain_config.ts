/**
 * Configurations of models that compute what a model of a known family does, with that family's keys: the text models
 * of multimodal ones, those of other classes (other_classes.ts), Granite 4 whose layers all have rotated attention,
 * MiniCPM, and a Mistral that is called so though it is a Ministral.
 */
import { z } from "zod";
import { isJsonObject, type JsonObject } from "../../io/files/json.ts";
import { findFamily, REMOTE_CODE_PREFIX } from "../families/families.ts";
import type { Family } from "../family.ts";
import { ownKey, withOwnKeys } from "./config_names.ts";
import { otherClass } from "./other_classes.ts";

/**
 * The configuration of a known family that says the same, with the sizes of its class where there are none; the same
 * object if there is no such family.
 * @param config - parsed config.json
 */
export function plainConfig(config: unknown): unknown {
  return isJsonObject(config) ? usualFamily(textModel(withSizes(config))) : config;
}

/** A configuration of a family's own class, with sizes. */
function withSizes(config: JsonObject): JsonObject {
  const family = findFamily(config.model_type);
  return family === undefined ? config : { ...sizesOf(family, config), ...config };
}

/** A configuration of another class that computes what a known family does, as that family's. */
function usualFamily(config: JsonObject): JsonObject {
  return ministral(scaledGranite(otherClass(denseGranite(config))));
}

/** Whether a configuration is of a class that no family is written as, though it is read as one. */
export function isOtherClass(config: unknown): boolean {
  if (!isJsonObject(config)) return false;
  const type = config.model_type;
  if (typeof type !== "string" || type.startsWith(REMOTE_CODE_PREFIX)) return false;
  return findFamily(denseGranite(config).model_type)?.modelType !== type;
}

/** Keys that the whole model's configuration has for the text model as well. */
const SHARED_KEYS = ["bos_token_id", "eos_token_id", "pad_token_id"] as const;

/** A model that attends to prompts in both directions, unlike its text model alone (modeling_paligemma.py). */
export const PREFIX_MODEL: string = "paligemma";

/**
 * `text_config` of a multimodal model (Gemma 3, Mistral Small 3, LLaVA, Qwen-VL, SmolVLM, ...), with what it leaves out
 * because the class or the whole model has it. It ties the output matrix to the embedding, as versions of transformers
 * disagree on whose `tie_word_embeddings` counts; the tensors decide (stored_head.ts).
 */
function textModel(config: JsonObject): JsonObject {
  const { model_type: whole, text_config: text } = config;
  if (!isJsonObject(text) || whole === PREFIX_MODEL) return config;
  const plain = usualFamily(text);
  const family = findFamily(plain.model_type);
  if (family === undefined) return config;
  const shared = SHARED_KEYS.flatMap((key) => (config[key] === undefined ? [] : [[key, config[key]]]));
  return { ...sizesOf(family, plain), ...Object.fromEntries(shared), ...plain, tie_word_embeddings: true };
}

/**
 * Sizes of the family's class that a configuration does not have; `text_config` lacks those of the class
 * (`to_diff_dict`).
 */
function sizesOf(family: Family, config: JsonObject): JsonObject {
  const { sizes, neuronRatio } = family.defaults;
  const usual = {
    vocab_size: sizes.vocab,
    hidden_size: sizes.hidden,
    ...(neuronRatio === undefined && { intermediate_size: sizes.neurons }),
    num_hidden_layers: sizes.layers,
    num_attention_heads: sizes.heads,
  };
  const { aliases } = family.config;
  const isThere = (key: string): boolean =>
    Object.hasOwn(config, ownKey(key, family)) || (aliases.includes(key) && Object.hasOwn(config, key));
  const missing = Object.entries(usual).filter(([key]) => !isThere(key));
  return withOwnKeys(Object.fromEntries(missing), family);
}

/**
 * A Granite 4 that has neither experts nor state-space layers, and attention that is rotated (micro, 1b, 350m), is a
 * Granite whose FFN is the shared one (modeling_granitemoehybrid.py). stored_names.ts knows its tensors.
 */
function denseGranite(config: JsonObject): JsonObject {
  const { model_type: type, layer_types: types, ...settings } = config;
  const isDense =
    type === "granitemoehybrid" &&
    settings.num_local_experts === 0 &&
    settings.position_embedding_type === "rope" &&
    Array.isArray(types) &&
    types.every((name) => name === "attention" || name === "full_attention");
  if (!isDense) return config;
  return { ...settings, model_type: "granite", intermediate_size: settings.shared_intermediate_size };
}

/** What the factors of a MiniCPM follow from. */
const minicpm = z.object({
  model_type: z.literal("minicpm"),
  hidden_size: z.number(),
  num_attention_heads: z.number(),
  num_hidden_layers: z.number(),
  scale_emb: z.number().default(1),
  scale_depth: z.number().default(1),
  dim_model_base: z.number().default(1),
});

/**
 * MiniCPM and MiniCPM 4 are Granites whose factors have other keys (minicpm.py of vLLM); for texts longer than
 * `dense_len` of `sparse_config`, if there is one, their own code leaves out a part of attention.
 */
function scaledGranite(config: JsonObject): JsonObject {
  const factors = minicpm.safeParse(config).data;
  if (factors === undefined || config.num_experts) return config;
  const { hidden_size: size, num_attention_heads: heads, num_hidden_layers: layers } = factors;
  const { scale_emb, scale_depth, dim_model_base, ...settings } = config;
  const headDim = typeof config.head_dim === "number" ? config.head_dim : size / heads;
  return {
    tie_word_embeddings: true,
    ...settings,
    model_type: "granite",
    embedding_multiplier: factors.scale_emb,
    residual_multiplier: factors.scale_depth / Math.sqrt(layers),
    logits_scaling: size / factors.dim_model_base,
    attention_multiplier: headDim ** -0.5,
  };
}

/** transformers takes a Mistral with `layer_types` for a Ministral (configuration_auto.py). */
function ministral(config: JsonObject): JsonObject {
  const isOne = config.model_type === "mistral" && Array.isArray(config.layer_types);
  return isOne ? { ...config, model_type: "ministral" } : config;
}
