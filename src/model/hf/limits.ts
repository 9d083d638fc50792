/** Limits of numbers in config.json; real vocabularies, widths and depths are far below. */
import { z } from "zod";

/** The largest size or count. */
export const MAX_SIZE: number = 2 ** 31;
export { MAX_LAYERS } from "../spec.ts";

/** The schema of a size or count. */
export const size: z.ZodInt = z.int().positive().max(MAX_SIZE);

/** The schema of a layer's index as a key of `per_layer_config`, which transformers may write with zeros before it. */
export const layerKey: z.ZodPipe<z.ZodString, z.ZodTransform<string, string>> = z
  .string()
  .regex(/^\d+$/)
  .transform((key) => String(Number(key)));
