/**
 * Keys of Falcon's class alone (configuration_falcon.py): which of three layouts a model has, and whether it has ALiBi.
 * Queries, keys and values are stored by KV group in all of them.
 */
import { z } from "zod";
import { GpruneError } from "../../errors.ts";
import type { JsonObject } from "../../io/files/json.ts";
import { alibiSlopes } from "../alibi.ts";
import type { ModelSpec } from "../spec.ts";
import { slopeKeys, withAlibi } from "./alibi_keys.ts";
import { size } from "./limits.ts";
import { type OwnKeys, parsedKeys } from "./own_keys.ts";

const flag = z.boolean().nullish();

const schema = z.object({
  hidden_size: size.optional(),
  n_embed: size.nullish(),
  num_attention_heads: size.default(71),
  num_kv_heads: size.nullish(),
  alibi: flag,
  new_decoder_architecture: flag,
  multi_query: flag.default(true),
  parallel_attn: flag.default(true),
  num_ln_in_parallel_attn: z.literal([1, 2]).nullish(),
});

type FalconConfig = z.infer<typeof schema>;

/** @throws GpruneError BAD_CONFIG for values out of range, UNSUPPORTED for norms that the class cannot have */
export function readFalconKeys(config: JsonObject, where: string): OwnKeys {
  const keys = parsedKeys(schema, config, where);
  const { hidden_size: size, n_embed: older, num_attention_heads: heads, num_kv_heads: kvHeads } = keys;
  const { new_decoder_architecture: isNew, multi_query: oneKey } = keys;
  const placement = normsOf(keys, where);
  return {
    usual: {
      ...config,
      hidden_size: older ?? size,
      num_kv_heads: isNew ? (kvHeads ?? heads) : oneKey ? 1 : heads,
      // A property of the class.
      head_dim: undefined,
    },
    complete: (spec) => {
      const placed = { ...spec, ...placement };
      const slopesOf = (count: number): readonly number[] => falconSlopes(count, spec.headDim);
      return keys.alibi ? withAlibi(placed, { config, slopesOf, where }) : placed;
    },
  };
}

/** Where the norms of a model are, and whether its blocks are parallel. */
function normsOf(
  { new_decoder_architecture: isNew, parallel_attn: parallel, num_ln_in_parallel_attn: count }: FalconConfig,
  where: string,
): Pick<ModelSpec, "norms" | "parallel"> {
  if (isNew && !parallel) throw unsupported(where, "parallel_attn with new_decoder_architecture", parallel);
  if (!parallel) return { norms: "before", parallel: false };
  if (!isNew && count === 2)
    throw unsupported(where, "num_ln_in_parallel_attn 1 without new_decoder_architecture", count);
  return { norms: isNew && count !== 1 ? "before" : "shared", parallel: true };
}

function unsupported(where: string, expected: string, got: unknown): GpruneError {
  return new GpruneError("UNSUPPORTED", `${where}: expected ${expected}, got ${String(got)}`, {
    hint: "transformers' class does not run with these settings.",
  });
}

/** Slopes in bfloat16, as they are before they are scaled with the scores (`build_alibi_tensor`). */
function falconSlopes(heads: number, headDim: number): readonly number[] {
  return alibiSlopes(heads).map((slope) => bfloat16(slope) * headDim ** -0.5);
}

/** A number rounded to bfloat16, to even. */
function bfloat16(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0]!;
  const rounded = (bits + 0x7f_ff + ((bits >>> 16) & 1)) & 0xff_ff_00_00;
  return new Float32Array(Uint32Array.of(rounded).buffer)[0]!;
}

/** The keys for a model: the older layouts where they can say it. */
export function falconKeys(spec: ModelSpec): JsonObject {
  const { layers, norms, parallel, headDim } = spec;
  const oneKey = layers.every(({ kvGroups }) => kvGroups === 1);
  const isOld =
    !parallel || (norms === "shared" && (oneKey || layers.every(({ groupSize }) => groupSize === 1)));
  const alibi = layers.some(({ slopes }) => slopes !== undefined);
  return {
    // A property of the class, which it refuses to set.
    head_dim: undefined,
    alibi,
    // The class's own, which makes transformers.js expect a cache of another form.
    ...(oneKey ? {} : { multi_query: false }),
    new_decoder_architecture: !isOld,
    parallel_attn: parallel,
    num_ln_in_parallel_attn: norms === "before" && parallel ? 2 : 1,
    ...(alibi ? slopeKeys(spec, (heads) => falconSlopes(heads, headDim)) : {}),
  };
}
