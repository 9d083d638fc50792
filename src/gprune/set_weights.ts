/** Weights of calibration sets by name. */
import { internalError } from "../errors.ts";

/** The weight of a set. @throws Error for a set without one, which must not silently get a default */
export function weightOf(weights: ReadonlyMap<string, number>, set: string): number {
  const weight = weights.get(set);
  if (weight === undefined) throw internalError(`no weight of set ${set}`);
  return weight;
}

/** The share of each of these sets in the sum of their weights. @throws Error as `weightOf` */
export function sharesOf(
  weights: ReadonlyMap<string, number>,
  sets: Iterable<string>,
): ReadonlyMap<string, number> {
  const found = Array.from(sets, (name) => [name, weightOf(weights, name)] as const);
  const total = found.reduce((sum, [, weight]) => sum + weight, 0);
  return new Map(found.map(([name, weight]) => [name, weight / total]));
}
