/**
 * Classes of configurations that say what that of a known family says, with other keys or defaults (their configuration
 * files in transformers 5): Qwen-VL, Gemma 4 12B, CodeGen, Kimi K2, Youtu-LLM, EXAONE 3, 3.5 and Deep, InternLM 3,
 * IQuest-Coder, Sarvam 30B and 105B, Param 2, and Hy3.
 */
import { isJsonObject, type JsonObject } from "../../io/files/json.ts";
import { MAX_LAYERS } from "./limits.ts";

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

/** A class that has the family's keys. */
function defaultsOf(as: string, defaults: JsonObject): OtherClass {
  return { as, keys: {}, defaults };
}

/** Defaults of Qwen2-VL and Qwen2.5-VL (configuration_qwen2_vl.py, configuration_qwen2_5_vl.py). */
const QWEN2_VL: OtherClass = defaultsOf("qwen2", {
  vocab_size: 152_064,
  hidden_size: 8192,
  intermediate_size: 29_568,
  num_hidden_layers: 80,
  num_attention_heads: 64,
  num_key_value_heads: 8,
  rms_norm_eps: 1e-5,
  rope_theta: 1_000_000,
  max_window_layers: 80,
});

/** Defaults of Gemma 4's class without experts and inputs of layers (configuration_gemma4_unified.py). */
const GEMMA4_UNIFIED: OtherClass = defaultsOf("gemma4_text", {
  vocab_size: 262_144,
  hidden_size: 2304,
  intermediate_size: 9216,
  num_hidden_layers: 30,
  num_attention_heads: 8,
  sliding_window: 1024,
  max_position_embeddings: 262_144,
  hidden_size_per_layer_input: 0,
});

/** Defaults of Youtu-LLM, a DeepSeek V3 without experts (configuration_youtu.py). */
const YOUTU: OtherClass = defaultsOf("deepseek_v3", {
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
});

/** Values of Qwen3-VL's text models with experts, whose routing weights always add up to 1. */
const QWEN3_VL_MOE: OtherClass = {
  ...defaultsOf("qwen3_moe", {
    ...{ vocab_size: 151_936, hidden_size: 2048, intermediate_size: 5632, num_hidden_layers: 24 },
    ...{ num_attention_heads: 16, num_key_value_heads: 16 },
    ...{ moe_intermediate_size: 1408, num_experts: 60, num_experts_per_tok: 4 },
    ...{ rope_theta: 500_000, max_position_embeddings: 128_000, tie_word_embeddings: true },
  }),
  keys: { num_local_experts: "num_experts" },
  plain: (config) => ({ ...config, norm_topk_prob: true, use_sliding_window: false }),
};

/** Values of Hy3, a GLM-4.5 that rotates whole heads. */
const HY3: OtherClass = {
  as: "glm4_moe",
  keys: {
    num_experts: "n_routed_experts",
    num_local_experts: "n_routed_experts",
    num_shared_experts: "n_shared_experts",
    router_scaling_factor: "routed_scaling_factor",
  },
  defaults: {
    ...{ vocab_size: 120_832, hidden_size: 4096, intermediate_size: 13_312, moe_intermediate_size: 1536 },
    ...{ num_hidden_layers: 80, num_attention_heads: 64, num_key_value_heads: 8, head_dim: 128 },
    ...{ n_routed_experts: 192, routed_scaling_factor: 2.826, rms_norm_eps: 1e-5 },
    ...{ rope_theta: 11_158_840, partial_rotary_factor: 1, pad_token_id: null },
  },
  computes: ({ attention_bias = false, mlp_bias = false, mlp_layer_types: types }) =>
    !attention_bias && !mlp_bias && (types == null || startsDense(types)),
  plain: withDenseLayers,
};

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

/** Those classes, by `model_type`. stored_names.ts knows the tensors of EXAONE, Sarvam 30B, Param 2 and Hy3. */
export const OTHER_CLASSES: ReadonlyMap<string, OtherClass> = new Map<string, OtherClass>([
  ["codegen", defaultsOf("gptj", {})],
  ["kimi_k2", defaultsOf("deepseek_v3", {})],
  ["youtu", YOUTU],
  ...["qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text"].map((name) => [name, QWEN2_VL] as const),
  // Of transformers 5; a base of 5,000,000 in version 4, which writes it into every config.json.
  ["qwen3_vl_text", defaultsOf("qwen3", { rope_theta: 500_000, max_position_embeddings: 128_000 })],
  ["qwen3_vl_moe_text", QWEN3_VL_MOE],
  ["gemma4_unified_text", GEMMA4_UNIFIED],
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
  ["hy_v3", HY3],
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

/** Whether all layers without experts come before those with them. @param types - `mlp_layer_types` */
function startsDense(types: unknown): types is readonly string[] {
  return Array.isArray(types) && types.lastIndexOf("dense") < types.indexOf("sparse");
}

/**
 * A Hy3 with the number of layers before those with experts: one, unless there is a list; with heads' norms and routing
 * as the class has them in any case.
 */
function withDenseLayers({ n_group: _, topk_group: __, ...others }: JsonObject): JsonObject {
  const types = others.mlp_layer_types;
  const first = startsDense(types) ? types.indexOf("sparse") : 1;
  return { ...others, first_k_dense_replace: first, norm_topk_prob: true, use_qk_norm: true };
}

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

/** A configuration of another class as that of the family; the same object if there is no such class. */
export function otherClass(config: JsonObject): JsonObject {
  const { model_type: type, ...settings } = config;
  const other = typeof type === "string" ? OTHER_CLASSES.get(type) : undefined;
  if (other === undefined) return config;
  const { as, keys, defaults, computes, plain = (same) => same } = other;
  const entries = Object.entries(settings);
  const own = entries.filter(([key]) => Object.hasOwn(keys, key)).map(([key, value]) => [keys[key], value]);
  const usual = entries.filter(([key]) => !Object.hasOwn(keys, key));
  const known = plain({ ...defaults, ...Object.fromEntries([...own, ...usual]), model_type: as });
  return computes?.(known) === false ? config : known;
}
