/** Limits of numbers in config.json; real vocabularies, widths and depths are far below. */
import { z } from "zod";

/** The largest size or count. */
export const MAX_SIZE: number = 2 ** 31;
export const MAX_LAYERS = 4096;

/** The schema of a size or count. */
export const size: z.ZodInt = z.int().positive().max(MAX_SIZE);
