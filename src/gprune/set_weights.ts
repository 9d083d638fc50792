/** How much calibration sets count, by name. */
import { internalError } from "../errors.ts";

/**
 * The weight of a set. @throws Error when there is none, since a set that is not known must not count as one that is
 */
export function weightOf(weights: ReadonlyMap<string, number>, set: string): number {
  const weight = weights.get(set);
  if (weight === undefined) throw internalError(`no weight of set ${set}`);
  return weight;
}
