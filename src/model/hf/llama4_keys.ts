/**
 * Keys of Llama 4's class alone (configuration_llama4.py, modeling_llama4.py). Attention in chunks and queries of
 * unrotated layers that grow with their position change nothing for short sequences; where a model has them, its
 * longest sequence is the longest of those. The width of experts, and of the shared one beside them, is
 * `intermediate_size`.
 */
import { z } from "zod";
import type { JsonObject } from "../../io/files/json.ts";
import type { ModelSpec } from "../spec.ts";
import { expertKeys } from "./experts_keys.ts";
import { size } from "./limits.ts";
import { both, byExperts, type OwnKeys, type OwnKeysFormat, parsedKeys } from "./own_keys.ts";
import { LISTED_OR_BY_STEP } from "./sparse_layers.ts";

/** Defaults are those of the class; version 4 of transformers takes a number for `attn_temperature_tuning`. */
const schema = z.object({
  layer_types: z.array(z.enum(["full_attention", "chunked_attention"])).nullish(),
  attention_chunk_size: z.int().positive().nullable().default(8192),
  attn_temperature_tuning: z.union([z.boolean(), z.int()]).default(true),
  floor_scale: z.int().min(2).default(8192),
});
const widthSchema = z.object({ intermediate_size: size.nullish() });

const ATTENTION: OwnKeysFormat = { read: readAttention, write: attentionKeys };
/** The width of experts under the key that other classes have for it (`FamilyConfig.names` has the inverse). */
const EXPERT_WIDTH: OwnKeysFormat = {
  read: ({ intermediate_size: width, ...usual }, where) => {
    parsedKeys(widthSchema, { intermediate_size: width }, where);
    return { usual: { ...usual, moe_intermediate_size: width }, complete: (spec) => spec };
  },
  write: () => ({}),
};
const WITH_EXPERTS = both(
  ATTENTION,
  both(
    EXPERT_WIDTH,
    expertKeys({
      count: "num_local_experts",
      defaults: { count: 16, active: 1, normalised: false, sigmoid: true, weighsInput: true },
      normalises: false,
      shared: { key: null, usual: 1 },
      own: { neurons: 8192, layers: LISTED_OR_BY_STEP },
    }),
  ),
);
/** vLLM asks for the step and the number of experts. */
const WITHOUT: OwnKeysFormat = {
  read: readAttention,
  write: (spec) => ({ ...attentionKeys(spec), ...LISTED_OR_BY_STEP.write([]), num_local_experts: 0 }),
};

export const LLAMA4_KEYS: OwnKeysFormat = byExperts(({ moe_layers: list }) => !isEmpty(list), {
  withExperts: WITH_EXPERTS,
  without: WITHOUT,
});

/** @throws GpruneError BAD_CONFIG for values out of range */
function readAttention(config: JsonObject, where: string): OwnKeys {
  const { layer_types: _, no_rope_layers: flags, ...others } = config;
  const keys = parsedKeys(schema, config, where);
  const { layer_types: types, attention_chunk_size: chunk, ...queries } = keys;
  return {
    // To the class, no flags are its default ones.
    usual: { ...others, no_rope_layers: isEmpty(flags) ? null : flags },
    // The longest sequence is one that neither chunks nor growing queries change.
    complete: (spec) => {
      const isChunked = types?.includes("chunked_attention") ?? spec.layers.some(({ rope }) => rope !== null);
      const grows = Boolean(queries.attn_temperature_tuning) && spec.layers.some(({ rope }) => rope === null);
      const limits = [isChunked ? chunk : null, grows ? queries.floor_scale - 1 : null];
      return {
        ...spec,
        maxPositions: Math.min(spec.maxPositions, ...limits.flatMap((limit) => limit ?? [])),
      };
    },
  };
}

function isEmpty(list: unknown): boolean {
  return Array.isArray(list) && list.length === 0;
}

/**
 * The keys for a model whose sequences are within a chunk. Without a length of chunks, transformers 4 refuses to build
 * masks.
 */
function attentionKeys({ layers, maxPositions }: ModelSpec): JsonObject {
  return {
    layer_types: layers.map(() => "full_attention"),
    attention_chunk_size: maxPositions,
    attn_temperature_tuning: false,
  };
}
