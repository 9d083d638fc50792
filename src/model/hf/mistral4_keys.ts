/**
 * Heads of Mistral 4 in its configuration (configuration_mistral4.py): unlike those of other classes with latents, the
 * head size is that of whole keys, of which `partial_rotary_factor` says what part turns.
 */
import { z } from "zod";
import { GpruneError } from "../../errors.ts";
import type { JsonObject } from "../../io/files/json.ts";
import { size } from "./limits.ts";
import { type OwnKeys, type OwnKeysFormat, parsedKeys } from "./own_keys.ts";

const part = z.number().nonnegative().max(1).nullish();
const parameters = z.looseObject({ partial_rotary_factor: part });
const schema = z.object({
  head_dim: size.nullish(),
  rope_parameters: parameters.nullish(),
  rope_scaling: parameters.nullish(),
});

/** Those of the class where config.json has none. */
const USUAL_ROTATION = {
  rope_type: "yarn",
  rope_theta: 10_000,
  factor: 128,
  original_max_position_embeddings: 8192,
  mscale: 1,
  mscale_all_dim: 1,
  llama_4_scaling_beta: 0.1,
} as const;

/** The format of the class. @param latents - that of its latents, where the head size is of channels that turn */
export function wholeHeads(latents: OwnKeysFormat): OwnKeysFormat {
  return {
    read: (config, where) => readHeads(latents, config, where),
    write: (spec, remoteCode) => ({ ...latents.write(spec, remoteCode), head_dim: spec.headDim }),
  };
}

/** @throws GpruneError BAD_CONFIG for a head size or a part that turns other than the latents' */
function readHeads(latents: OwnKeysFormat, config: JsonObject, where: string): OwnKeys {
  const { head_dim, rope_parameters: usual, rope_scaling: older } = parsedKeys(schema, config, where);
  const { partial_rotary_factor: _, ...rest } = config;
  const own = latents.read(
    { ...rest, rope_parameters: withoutPart(usual ?? USUAL_ROTATION), rope_scaling: withoutPart(older) },
    where,
  );
  // The older key replaces parameters that the class has completed.
  const turning = older ? (older.partial_rotary_factor ?? 1) : usual?.partial_rotary_factor;
  return {
    usual: own.usual,
    complete: (spec) => {
      const completed = own.complete(spec);
      const { headDim } = completed;
      const { rotated } = completed.latent!;
      requireSame("head_dim of qk_nope_head_dim + qk_rope_head_dim", headDim, head_dim ?? headDim);
      const turned = turning == null ? rotated : Math.floor(headDim * turning);
      requireSame("partial_rotary_factor that turns qk_rope_head_dim channels", rotated, turned);
      return completed;
    },
  };

  function requireSame(what: string, expected: number, got: number): void {
    if (got === expected) return;
    throw new GpruneError("BAD_CONFIG", `${where}: expected ${what}, ${expected}, got ${got}`);
  }
}

function withoutPart(given: z.infer<typeof parameters> | null | undefined): JsonObject | null | undefined {
  if (!given) return given;
  const { partial_rotary_factor: _, ...others } = given;
  return others;
}
