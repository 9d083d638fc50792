/**
 * Keys of the classes that have ALiBi (configuration_bloom.py, configuration_mpt.py). Stock classes derive slopes from
 * the number of heads; our modelling file reads those of layers that lost KV groups from `alibi_slopes`.
 */
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { GpruneError } from "../../errors.ts";
import type { JsonObject } from "../../io/files/json.ts";
import { ALIBI_MAX, alibiSlopes } from "../alibi.ts";
import { REMOTE_CODE_PREFIX } from "../families/families.ts";
import { MAX_HEADS, type ModelSpec, queryHeads } from "../spec.ts";
import { MAX_LAYERS, size } from "./limits.ts";
import { type OwnKeys, parsedKeys } from "./own_keys.ts";

/** The slopes that a class gives a number of heads. */
type Slopes = (heads: number) => readonly number[];

const slopeLists = z.object({
  alibi_slopes: z
    .array(z.array(z.number().min(1e-20).max(1e3)).max(MAX_HEADS))
    .max(MAX_LAYERS)
    .optional(),
});

/**
 * The spec with ALiBi in all layers, and none of them rotated.
 * @throws GpruneError BAD_CONFIG unless the slopes that are listed are those of every layer's query heads
 */
export function withAlibi(
  spec: ModelSpec,
  {
    config,
    slopesOf,
    where,
  }: { readonly config: JsonObject; readonly slopesOf: Slopes; readonly where: string },
): ModelSpec {
  const lists = isOurs(config) ? parsedKeys(slopeLists, config, where).alibi_slopes : undefined;
  const layers = spec.layers.map((layer, index) => {
    const heads = queryHeads(layer);
    const slopes = lists === undefined ? slopesOf(heads) : (lists[index] ?? []);
    if (slopes.length === heads) return { ...layer, rope: null, slopes };
    const expected = `${heads} alibi_slopes in layer ${index}`;
    throw new GpruneError("BAD_CONFIG", `${where}: expected ${expected}, got ${slopes.length}`);
  });
  return { ...spec, layers };
}

/** Whether our modelling file's class reads a config.json, and no stock class. */
function isOurs({ model_type: type }: JsonObject): boolean {
  return typeof type === "string" && type.startsWith(REMOTE_CODE_PREFIX);
}

/** `alibi_slopes`, unless all slopes are those that the class gives heads of the usual number. */
export function slopeKeys({ layers, hiddenSize, headDim }: ModelSpec, slopesOf: Slopes): JsonObject {
  const usual = slopesOf(Math.floor(hiddenSize / headDim));
  const isUsual = layers.every(({ slopes }) => isDeepStrictEqual(slopes, usual));
  return isUsual ? {} : { alibi_slopes: layers.map(({ slopes = [] }) => slopes) };
}

/** What BLOOM's class reads of these; it has FFNs of one size and one activation. */
const bloom = z.object({
  hidden_size: size.nullish(),
  n_embed: size.nullish(),
  slow_but_exact: z.boolean().nullish(),
  pretraining_tp: z.number().nullish(),
});

/** @throws GpruneError BAD_CONFIG for values out of range, UNSUPPORTED for projections without their biases */
export function readBloomKeys(config: JsonObject, where: string): OwnKeys {
  const {
    hidden_size: size,
    n_embed: older,
    slow_but_exact: inSlices,
    pretraining_tp: slices,
  } = parsedKeys(bloom, config, where);
  if (inSlices && (slices ?? 1) > 1) {
    const message = `${where}: expected slow_but_exact false with pretraining_tp ${slices}, got true`;
    const hint =
      "transformers' class then leaves out the biases of output projections, in attention and FFN.";
    throw new GpruneError("UNSUPPORTED", message, { hint });
  }
  return {
    usual: { ...config, ...fixedFfn(config), hidden_size: older ?? size, hidden_act: "gelu_pytorch_tanh" },
    complete: (spec) => withAlibi(spec, { config, slopesOf: alibiSlopes, where }),
  };
}

export function bloomKeys(spec: ModelSpec): JsonObject {
  return slopeKeys(spec, alibiSlopes);
}

/** FFNs of stock classes have four times as many neurons as there are channels, whatever config.json says. */
function fixedFfn(config: JsonObject): JsonObject {
  return isOurs(config) ? {} : { intermediate_size: undefined };
}

/** MPT's keys of attention; what the class ignores may have the only value that it computes. */
const mpt = z.object({
  attn_config: z.object({
    alibi: z.literal(true, { error: "expected ALiBi, which transformers' class always has" }).default(true),
    alibi_bias_max: z
      .literal(ALIBI_MAX, { error: `expected ${ALIBI_MAX}, which transformers' class always takes` })
      .default(ALIBI_MAX),
    attn_type: z
      .literal("multihead_attention", {
        error: "expected multihead_attention, which transformers' class always has",
      })
      .default("multihead_attention"),
    clip_qkv: z.number().nonnegative().nullish(),
    prefix_lm: z
      .literal(false, {
        error: "expected no prefix that sees later tokens, which transformers' class ignores",
      })
      .default(false),
    qk_ln: z
      .literal(false, { error: "expected no norms on queries and keys, which transformers' class ignores" })
      .default(false),
    softmax_scale: z.number().positive().nullish(),
  }),
  logit_scale: z
    .null({ error: "expected no factor on logits, which transformers' class ignores" })
    .optional(),
});

/** @throws GpruneError BAD_CONFIG for values out of range, or that the class does not compute */
export function readMptKeys(config: JsonObject, where: string): OwnKeys {
  const { attn_config: given, ...keys } = config;
  const { attn_config: attention } = parsedKeys(mpt, { ...keys, attn_config: given ?? {} }, where);
  const { logit_scale: _, ...others } = keys;
  return {
    usual: { ...others, ...fixedFfn(config), hidden_act: "gelu", clip_qkv: attention.clip_qkv || null },
    complete: (spec) => ({
      ...withAlibi(spec, { config, slopesOf: alibiSlopes, where }),
      attentionScale: attention.softmax_scale ?? spec.attentionScale,
    }),
  };
}

/** The keys for a model, among them those that llama.cpp's conversion asks for. */
export function mptKeys(spec: ModelSpec): JsonObject {
  const { projectionClip, attentionScale, headDim } = spec;
  return {
    attn_config: {
      alibi: true,
      alibi_bias_max: ALIBI_MAX,
      attn_type: "multihead_attention",
      clip_qkv: projectionClip,
      prefix_lm: false,
      qk_ln: false,
      softmax_scale: attentionScale === headDim ** -0.5 ? null : attentionScale,
    },
    ...slopeKeys(spec, alibiSlopes),
  };
}
