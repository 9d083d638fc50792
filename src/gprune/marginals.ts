/**
 * Marginals: what the model loses with every unit, as gradients say it, pooled over sets; and their logarithms along a
 * module's order, in which what a set says beyond the order can be told from what it says of all units.
 */
import { mean } from "../tensor/statistics.ts";
import { isotonic } from "./isotonic.ts";

/** What the model loses with every unit by space id, [units]; units that are gone have none. */
export type Marginals = ReadonlyMap<string, Float64Array>;

/** What one set says. */
export interface Opinion {
  /** The set's share of all sets' weight, 0..1. */
  readonly share: number;
  readonly marginals: Marginals;
}

/** Values below this share of their mean count as much: the logarithm of nothing would decide alone. */
const FLOOR = 1e-6;

/** The sets' marginals as one. */
export function pooledMarginals(opinions: readonly Opinion[]): Marginals {
  const [first, ...rest] = opinions.map(({ share, marginals }) => {
    return new Map(Array.from(marginals, ([id, values]) => [id, values.map((value) => share * value)]));
  });
  for (const marginals of rest) {
    for (const [id, values] of marginals) {
      const sum = first!.get(id)!;
      for (const [unit, value] of values.entries()) sum[unit]! += value;
    }
  }
  return first ?? new Map();
}

/** The isotonic fit of the logarithms of a module's marginals along its order, and what counts as nothing. */
export interface LogCurve {
  readonly fit: Float64Array;
  readonly floor: number;
}

/** Logarithms of values, of which none counts as less than the floor. */
export function logsOf(values: Float64Array, floor: number = logFloor(values)): Float64Array {
  return values.map((value) => Math.log(Math.max(value, floor)));
}

function logFloor(values: Float64Array): number {
  return Math.max(FLOOR * mean(values), Number.MIN_VALUE);
}

/** @param marginals - along the module's order, not negative */
export function logCurve(marginals: Float64Array): LogCurve {
  const floor = logFloor(marginals);
  return { fit: isotonic(logsOf(marginals, floor)), floor };
}

/** How far marginals lie from a curve, as logarithms, centred: [units of the module that remain]. */
export function deviations(marginals: Float64Array, { fit, floor }: LogCurve): Float64Array {
  const raw = logsOf(marginals, floor).map((log, position) => log - fit[position]!);
  const centre = mean(raw);
  return raw.map((value) => value - centre);
}
