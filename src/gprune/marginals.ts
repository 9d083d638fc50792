/**
 * Marginals: estimates of what removing each unit costs, from gradients or error curves, pooled over sets; and their
 * logarithms along a module's order, whose isotonic fit separates what agrees with the order from what contradicts it.
 */
import { mean } from "../tensor/statistics.ts";
import { isotonic } from "./isotonic.ts";

/** Estimated cost of removing each unit by space id, [units] of the dense model, >= 0, up to a common factor. */
export type Marginals = ReadonlyMap<string, Float64Array>;

/** Marginals of one calibration set, and how much it counts. */
export interface SetMarginals {
  /** Factor on the set's marginals, >= 0; `consensusOf` depends on their ratios alone. */
  readonly weight: number;
  readonly marginals: Marginals;
}

/**
 * Values are raised to at least this share of their mean: the logarithm of a value near 0 would outweigh all others.
 */
const FLOOR = 1e-6;

/** Sum of the sets' marginals, each times its weight. */
export function pooledMarginals(sets: readonly SetMarginals[]): Marginals {
  const [first, ...rest] = sets.map(({ weight, marginals }) => {
    return new Map(Array.from(marginals, ([id, values]) => [id, values.map((value) => weight * value)]));
  });
  for (const marginals of rest) {
    for (const [id, values] of marginals) {
      const sum = first!.get(id)!;
      for (const [unit, value] of values.entries()) sum[unit]! += value;
    }
  }
  return first ?? new Map();
}

/** Isotonic fit of the logarithms of a module's marginals along its order, and the floor that they were raised to. */
export interface LogCurve {
  readonly fit: Float64Array;
  readonly floor: number;
}

/** Logarithms of values that are raised to at least the floor. */
export function logsOf(values: Float64Array, floor: number = logFloor(values)): Float64Array {
  return values.map((value) => Math.log(Math.max(value, floor)));
}

function logFloor(values: Float64Array): number {
  return Math.max(FLOOR * mean(values), Number.MIN_VALUE);
}

/**
 * The non-decreasing curve of a module's marginals in the logarithm.
 * @param marginals - along the module's order, not negative
 */
export function logCurve(marginals: Float64Array): LogCurve {
  const floor = logFloor(marginals);
  return { fit: isotonic(logsOf(marginals, floor)), floor };
}

/** Differences of log marginals from a curve, centred, [remaining units of the module]. */
export function deviations(marginals: Float64Array, { fit, floor }: LogCurve): Float64Array {
  const raw = logsOf(marginals, floor).map((log, position) => log - fit[position]!);
  const centre = mean(raw);
  return raw.map((value) => value - centre);
}
