/** Weights of calibration sets by name. */
import { internalError } from "../errors.ts";

/** The weight of a set. @throws Error for a set without one, which must not silently get a default */
export function weightOf(weights: ReadonlyMap<string, number>, set: string): number {
  const weight = weights.get(set);
  if (weight === undefined) throw internalError(`no weight of set ${set}`);
  return weight;
}
