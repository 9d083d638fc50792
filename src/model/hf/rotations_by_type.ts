/** Rotations by type of layer, of classes that read no others (Gemma 4, LFM3). */
import { z } from "zod";
import { GpruneError } from "../../errors.ts";

/** What `layer_types` calls layers with attention. */
export type AttentionType = "sliding_attention" | "full_attention";

type Rotations = Partial<Readonly<Record<AttentionType, Rotation | null | undefined>>>;
interface Rotation {
  readonly rope_theta?: number | null | undefined;
}

const rotation = z.looseObject({ rope_theta: z.number().nullish() }).nullish();

/** Schemas of the keys; the class would take `rope_scaling` for all of `rope_parameters`. */
export const ROTATION_KEYS: {
  readonly rope_parameters: z.ZodType<Rotations | null | undefined>;
  readonly rope_scaling: z.ZodType<null | undefined>;
} = {
  rope_parameters: z.looseObject({ full_attention: rotation, sliding_attention: rotation }).nullish(),
  rope_scaling: z
    .null({ error: "expected rope_parameters alone: the class takes rope_scaling for all of them" })
    .optional(),
};

/**
 * The class has rotations of all types of layers from the file, or none (`Gemma4TextRotaryEmbedding`).
 * @throws GpruneError BAD_CONFIG for a type of layers without a base of its rotation
 */
export function requireRotations(
  given: Rotations | null | undefined,
  types: readonly AttentionType[],
  where: string,
): void {
  const missing = given && types.find((type) => !given[type]?.rope_theta);
  if (!missing) return;
  const got = given[missing] ? "none with rope_theta" : "none";
  throw new GpruneError("BAD_CONFIG", `${where}: expected rope_parameters of ${missing}, got ${got}`);
}
