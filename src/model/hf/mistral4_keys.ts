/**
 * Heads of Mistral 4 in its configuration (configuration_mistral4.py): unlike those of other classes with latents, the
 * head size is that of whole keys, of which `partial_rotary_factor` says what part turns.
 */
import { z } from "zod";
import { GpruneError } from "../../errors.ts";
import type { JsonObject } from "../../io/files/json.ts";
import { size } from "./limits.ts";
import { type OwnKeys, type OwnKeysFormat, parsedKeys } from "./own_keys.ts";

const parameters = z.looseObject({ partial_rotary_factor: z.number().nonnegative().max(1).nullish() });
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

/** @throws GpruneError BAD_CONFIG for a part of heads that turns other than the latents' */
function readHeads(latents: OwnKeysFormat, config: JsonObject, where: string): OwnKeys {
  const { head_dim: whole, rope_parameters: usual, rope_scaling: older } = parsedKeys(schema, config, where);
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
      const { headDim, latent } = completed;
      const expected = latent!.rotated;
      if (whole == null && turning == null) return completed;
      const channels = whole ?? headDim;
      const part = turning ?? expected / headDim;
      if (Math.floor(channels * part) === expected) return completed;
      throw new GpruneError(
        "BAD_CONFIG",
        `${where}: expected head_dim and partial_rotary_factor of which ${expected} channels turn, as qk_rope_head_dim ` +
          `says, got ${channels} and ${part}`,
      );
    },
  };
}

function withoutPart(given: z.infer<typeof parameters> | null | undefined): JsonObject | null | undefined {
  if (!given) return given;
  const { partial_rotary_factor: _, ...others } = given;
  return others;
}
