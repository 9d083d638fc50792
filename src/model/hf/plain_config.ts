/**
 * Configurations of models that compute what a model of a known family does, with that family's keys: the text models
 * of multimodal ones, Granite 4 whose layers all have rotated attention, EXAONE 3, InternLM 3, IQuest-Coder, Sarvam,
 * Param 2, MiniCPM, a Mistral that is called so though it is a Ministral, and Qwen-VL, Gemma 4 12B and Youtu-LLM with
 * the defaults of their own classes.
 */
import { z } from "zod";
import { isJsonObject, type JsonObject } from "../../io/files/json.ts";
import { findFamily, REMOTE_CODE_PREFIX } from "../families/families.ts";
import type { Family } from "../family.ts";
import { ownKey, withOwnKeys } from "./config_names.ts";
import { MAX_LAYERS } from "./limits.ts";

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
  return family?.modelType === config.model_type ? { ...sizesOf(family!, config), ...config } : config;
}

/** A configuration of another class that computes what a known family does, as that family's. */
function usualFamily(config: JsonObject): JsonObject {
  return ministral(scaledGranite(otherClass(denseGranite(withDefaults(config)))));
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

/** Defaults of Qwen2-VL and Qwen2.5-VL (configuration_qwen2_vl.py, configuration_qwen2_5_vl.py). */
const QWEN2_VL: JsonObject = {
  vocab_size: 152_064,
  hidden_size: 8192,
  intermediate_size: 29_568,
  num_hidden_layers: 80,
  num_attention_heads: 64,
  num_key_value_heads: 8,
  rms_norm_eps: 1e-5,
  rope_theta: 1_000_000,
  max_window_layers: 80,
};

/** Defaults of Gemma 4's class without experts and inputs of layers (configuration_gemma4_unified.py). */
const GEMMA4_UNIFIED: JsonObject = {
  vocab_size: 262_144,
  hidden_size: 2304,
  intermediate_size: 9216,
  num_hidden_layers: 30,
  num_attention_heads: 8,
  sliding_window: 1024,
  max_position_embeddings: 262_144,
  hidden_size_per_layer_input: 0,
};

/** Defaults of Youtu-LLM, a DeepSeek V3 without experts (configuration_youtu.py). */
const YOUTU: JsonObject = {
  vocab_size: 128_256,
  hidden_size: 2048,
  intermediate_size: 6144,
  num_hidden_layers: 32,
  num_attention_heads: 16,
  max_position_embeddings: 131_072,
  bos_token_id: 128_000,
  eos_token_id: 128_001,
  tie_word_embeddings: true,
  first_k_dense_replace: MAX_LAYERS,
};

/** Defaults of classes whose configurations are read as a family's, where they are not the family's own. */
const OTHER_DEFAULTS: ReadonlyMap<unknown, JsonObject> = new Map<unknown, JsonObject>([
  ...["qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text"].map((name) => [name, QWEN2_VL] as const),
  // Of transformers 5; a base of 5,000,000 in version 4, which writes it into every config.json.
  ["qwen3_vl_text", { rope_theta: 500_000, max_position_embeddings: 128_000 }],
  ["gemma4_unified_text", GEMMA4_UNIFIED],
  ["youtu", YOUTU],
]);

/** A configuration of a class with other defaults than the family's, with these; what it says itself counts. */
function withDefaults(config: JsonObject): JsonObject {
  const defaults = OTHER_DEFAULTS.get(config.model_type);
  return defaults === undefined ? config : { ...defaults, ...config };
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

/** A class of configurations that says what a family's does. */
interface OtherClass {
  /** The family's `model_type`. */
  readonly as: string;
  /** Usual keys by the names that published files have for them; the usual names count where both are there. */
  readonly keys: Readonly<Record<string, string>>;
  /** Values of the class, where they are not the family's. */
  readonly defaults: JsonObject;
  /** Whether the class can compute what a configuration with usual keys says; it can when absent. */
  readonly computes?: (config: JsonObject) => boolean;
  /** The configuration with what the family's class reads, where more than keys differ. */
  readonly plain?: (config: JsonObject) => JsonObject;
}

/** Keys of experts in the published files of Sarvam and Param 2. */
const SARVAM_KEYS = { num_experts: "n_routed_experts", num_shared_experts: "n_shared_experts" } as const;

/** Values of the classes of Sarvam 30B and Param 2, which rotate whole heads, unlike GLM-4.5. */
const SARVAM: OtherClass = {
  as: "glm4_moe",
  keys: { ...SARVAM_KEYS, use_qkv_bias: "attention_bias" },
  defaults: {
    ...{ vocab_size: 262_144, hidden_size: 4096, intermediate_size: 8192, moe_intermediate_size: 1024 },
    ...{ num_hidden_layers: 19, num_attention_heads: 64, num_key_value_heads: 4, head_dim: 64 },
    ...{ num_experts_per_tok: 6, routed_scaling_factor: 2.5, use_qk_norm: true, rms_norm_eps: 1e-6 },
    ...{ rope_theta: 8_000_000, partial_rotary_factor: 1, pad_token_id: 0, eos_token_id: 1 },
  },
};

/**
 * EXAONE 3, 3.5 and Deep, InternLM 3, IQuest-Coder, Sarvam 30B and 105B, and Param 2 (their configuration files in
 * transformers 5). stored_names.ts knows the tensors of EXAONE, Sarvam 30B and Param 2.
 */
const OTHER_CLASSES: ReadonlyMap<unknown, OtherClass> = new Map<unknown, OtherClass>([
  [
    "exaone",
    {
      as: "llama",
      keys: {
        num_layers: "num_hidden_layers",
        layer_norm_epsilon: "rms_norm_eps",
        activation_function: "hidden_act",
      },
      defaults: { rms_norm_eps: 1e-5, rope_theta: 500_000 },
    },
  ],
  [
    "internlm3",
    {
      as: "llama",
      keys: { qkv_bias: "attention_bias", bias: "mlp_bias" },
      defaults: { rms_norm_eps: 1e-5, num_key_value_heads: 2, head_dim: 128 },
      computes: ({ attention_bias = false, mlp_bias = false }) => attention_bias === mlp_bias,
    },
  ],
  [
    "iquestcoder",
    {
      as: "llama",
      keys: {},
      defaults: { rms_norm_eps: 1e-5, num_key_value_heads: 8, head_dim: 128 },
      computes: ({ clip_qkv, use_sliding_window }) => clip_qkv == null && !use_sliding_window,
    },
  ],
  ["sarvam_moe", SARVAM],
  [
    "param2moe",
    {
      ...SARVAM,
      defaults: {
        ...SARVAM.defaults,
        ...{ vocab_size: 128_000, hidden_size: 2048, intermediate_size: 9216, moe_intermediate_size: 2048 },
        ...{ num_hidden_layers: 21, num_attention_heads: 32, num_key_value_heads: 8 },
        ...{ n_routed_experts: 64, n_shared_experts: 2, max_position_embeddings: 32_768 },
        ...{ rope_theta: 500_000, tie_word_embeddings: true, eos_token_id: 3 },
      },
    },
  ],
  [
    "sarvam_mla",
    {
      as: "deepseek_v3",
      keys: SARVAM_KEYS,
      defaults: {
        ...{ vocab_size: 262_144, hidden_size: 4096, intermediate_size: 16_384, q_lora_rank: null },
        ...{ num_hidden_layers: 32, num_attention_heads: 64, n_routed_experts: 128 },
        ...{ n_group: 1, topk_group: 1, first_k_dense_replace: 1 },
      },
      plain: latentSarvam,
    },
  ],
]);

/** A Sarvam 105B without head sizes, which published files have for vLLM, and with the usual name of YaRN. */
function latentSarvam({
  head_dim: _,
  q_head_dim: __,
  rope_scaling: scaling,
  ...config
}: JsonObject): JsonObject {
  if (!isJsonObject(scaling)) return config;
  const isYarn = [scaling.type, scaling.rope_type].includes("deepseek_yarn");
  return { ...config, rope_scaling: isYarn ? { ...scaling, type: "yarn", rope_type: "yarn" } : scaling };
}

function otherClass(config: JsonObject): JsonObject {
  const { model_type: type, ...settings } = config;
  const other = OTHER_CLASSES.get(type);
  if (other === undefined) return config;
  const { as, keys, defaults, computes, plain = (same) => same } = other;
  const entries = Object.entries(settings);
  const own = entries.filter(([key]) => Object.hasOwn(keys, key)).map(([key, value]) => [keys[key], value]);
  const usual = entries.filter(([key]) => !Object.hasOwn(keys, key));
  const known = plain({ ...defaults, ...Object.fromEntries([...own, ...usual]), model_type: as });
  return computes?.(known) === false ? config : known;
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
