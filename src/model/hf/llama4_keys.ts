/**
 * Keys of Llama 4's class alone (configuration_llama4.py, modeling_llama4.py). Experts are refused. Attention in chunks
 * and queries of unrotated layers that grow with their position change nothing for short sequences; where a model has
 * them, its longest sequence is the longest of those.
 */
import { z } from "zod";
import { GpruneError } from "../../errors.ts";
import type { JsonObject } from "../../io/files/json.ts";
import type { ModelSpec } from "../spec.ts";
import { type OwnKeys, parsedKeys } from "./own_keys.ts";

/** Defaults are those of the class; version 4 of transformers takes a number for `attn_temperature_tuning`. */
const schema = z.object({
  layer_types: z.array(z.enum(["full_attention", "chunked_attention"])).nullish(),
  attention_chunk_size: z.int().positive().nullable().default(8192),
  attn_temperature_tuning: z.union([z.boolean(), z.int()]).default(true),
  floor_scale: z.int().min(2).default(8192),
});

/** @throws GpruneError UNSUPPORTED for layers with experts, BAD_CONFIG for values out of range */
export function readLlama4Keys(config: JsonObject, where: string): OwnKeys {
  const { layer_types: _, moe_layers: experts, no_rope_layers: flags, ...others } = config;
  if (!isEmpty(experts)) {
    throw new GpruneError("UNSUPPORTED", `${where}: expected moe_layers [], got layers with experts`, {
      hint: "Mixture-of-experts models are not supported.",
    });
  }
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
 * The keys for a dense model whose sequences are within a chunk. Without a length of chunks, transformers 4 refuses to
 * build masks; vLLM asks for the step and the number of experts.
 */
export function llama4Keys({ layers, maxPositions }: ModelSpec): JsonObject {
  return {
    layer_types: layers.map(() => "full_attention"),
    attention_chunk_size: maxPositions,
    attn_temperature_tuning: false,
    moe_layers: [],
    interleave_moe_layer_step: 0,
    num_local_experts: 0,
  };
}
