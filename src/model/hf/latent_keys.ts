/**
 * Keys of classes with latent attention (configuration_deepseek_v2.py, configuration_deepseek_v3.py,
 * configuration_glm4_moe_lite.py, configuration_minicpm3.py). To them, the head size of config.json is that of the
 * channels that turn.
 */
import { z } from "zod";
import type { JsonObject } from "../../io/files/json.ts";
import type { LatentSpec } from "../latent_spec.ts";
import { withLatents } from "../latents.ts";
import type { ModelSpec } from "../spec.ts";
import { size } from "./limits.ts";
import { type OwnKeys, type OwnKeysFormat, parsedKeys } from "./own_keys.ts";

/** Sizes of a class where config.json has none. */
export interface LatentSizes {
  readonly queryRank: number;
  readonly rank: number;
  /** Channels of keys that turn, and others. */
  readonly rotated: number;
  readonly unrotated: number;
  /** `C/N`: the hidden size by the number of heads. */
  readonly valueDim: number | "C/N";
  /** `head_dim` is another name of `qk_rope_head_dim`, and counts where a file has both (`attribute_map`). */
  readonly alias?: true;
}

const schema = z.object({
  q_lora_rank: size.nullish(),
  kv_lora_rank: size.optional(),
  qk_rope_head_dim: size.optional(),
  qk_nope_head_dim: size.optional(),
  head_dim: size.nullish(),
  v_head_dim: size.nullish(),
  attention_bias: z.boolean().nullish(),
  hidden_size: size,
  num_attention_heads: size,
});

/** The format of a class. */
export function latentKeys(usual: LatentSizes): OwnKeysFormat {
  return { read: (config, where) => readKeys(usual, config, where), write: writtenKeys };
}

/** @throws GpruneError BAD_CONFIG for values out of range */
function readKeys(usual: LatentSizes, config: JsonObject, where: string): OwnKeys {
  const keys = parsedKeys(schema, config, where);
  const latent: LatentSpec = {
    // Null is no latent, absent the class's own.
    queryRank: keys.q_lora_rank === undefined ? usual.queryRank : keys.q_lora_rank,
    rank: keys.kv_lora_rank ?? usual.rank,
    rotated: (usual.alias && keys.head_dim) || (keys.qk_rope_head_dim ?? usual.rotated),
    valueDim: keys.v_head_dim ?? usualValueDim(usual, keys),
    biases: keys.attention_bias ?? false,
  };
  const headDim = latent.rotated + (keys.qk_nope_head_dim ?? usual.unrotated);
  return {
    usual: { ...config, head_dim: latent.rotated },
    complete: (spec) => withLatents(spec, latent, headDim),
  };
}

function usualValueDim({ valueDim }: LatentSizes, keys: z.infer<typeof schema>): number {
  return valueDim === "C/N" ? Math.floor(keys.hidden_size / keys.num_attention_heads) : valueDim;
}

function writtenKeys({ latent, headDim }: ModelSpec): JsonObject {
  if (latent === undefined) return {};
  return {
    head_dim: latent.rotated,
    q_lora_rank: latent.queryRank,
    kv_lora_rank: latent.rank,
    qk_rope_head_dim: latent.rotated,
    qk_nope_head_dim: headDim - latent.rotated,
    v_head_dim: latent.valueDim,
    attention_bias: latent.biases,
  };
}
