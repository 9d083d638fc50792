/** Differences between the results of two peers. */
import type { Answer } from "./jobs.ts";

/** Largest differences of one result. */
export interface Difference {
  /**
   * Largest |a - b| over the root mean square of b's values at the same place, for values of both signs, some of them
   * nearly zero.
   */
  readonly ofTypical: number;
  /** Largest |a - b| / |b|. */
  readonly ofItself: number;
}

/**
 * Differences of `a` from `b` for all results of `b`, by name.
 * @throws Error when `a` lacks a result, or has another number of values
 */
export function differences(a: Answer["values"], b: Answer["values"]): Readonly<Record<string, Difference>> {
  return Object.fromEntries(
    Object.entries(b).map(([name, places]) => {
      const found = Object.entries(places).map(([place, values]) => {
        const compared = a[name]?.[place];
        if (compared?.length === values.length) return difference(compared, values);
        throw new Error(
          `${name} of ${place}: expected ${values.length} values, got ${compared?.length ?? "none"}`,
        );
      });
      return [name, found.reduce(larger)];
    }),
  );
}

function difference(a: readonly number[], b: readonly number[]): Difference {
  const typical = Math.sqrt(b.reduce((sum, value) => sum + value * value, 0) / b.length);
  let [most, ofItself] = [0, 0];
  for (const [i, value] of b.entries()) {
    const apart = Math.abs(a[i]! - value);
    if (apart === 0) continue;
    // Math.max propagates NaN.
    most = Math.max(most, apart);
    ofItself = Math.max(ofItself, apart / Math.abs(value));
  }
  return { ofTypical: most === 0 ? 0 : most / typical, ofItself };
}

function larger(a: Difference, b: Difference): Difference {
  return { ofTypical: Math.max(a.ofTypical, b.ofTypical), ofItself: Math.max(a.ofItself, b.ofItself) };
}
