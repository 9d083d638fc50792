/** How far the results of two peers are apart. */
import type { Answer } from "./jobs.ts";

export interface Difference {
  /**
   * The largest |a - b| over the root mean square of b's values at the same place: a measure for numbers of both signs,
   * of which some are nearly zero.
   */
  readonly ofTypical: number;
  /** The largest |a - b| / |b|, value by value. */
  readonly ofItself: number;
}

/**
 * The difference of `a` from `b` for everything that b has, by name of the result.
 * @throws Error when `a` lacks something, or has it in another length
 */
export function differences(a: Answer["values"], b: Answer["values"]): Readonly<Record<string, Difference>> {
  return Object.fromEntries(
    Object.entries(b).map(([name, places]) => {
      const all = Object.entries(places).map(([place, values]) => {
        const own = a[name]?.[place];
        if (own?.length === values.length) return difference(own, values);
        throw new Error(
          `${name} of ${place}: expected ${values.length} values, got ${own?.length ?? "none"}`,
        );
      });
      return [name, all.reduce(larger)];
    }),
  );
}

function difference(a: readonly number[], b: readonly number[]): Difference {
  const typical = Math.sqrt(b.reduce((sum, value) => sum + value * value, 0) / b.length);
  let [most, ofItself] = [0, 0];
  for (const [i, value] of b.entries()) {
    const apart = Math.abs(a[i]! - value);
    if (apart === 0) continue;
    // NaN stays: Math.max gives it back.
    most = Math.max(most, apart);
    ofItself = Math.max(ofItself, apart / Math.abs(value));
  }
  return { ofTypical: most === 0 ? 0 : most / typical, ofItself };
}

function larger(a: Difference, b: Difference): Difference {
  return { ofTypical: Math.max(a.ofTypical, b.ofTypical), ofItself: Math.max(a.ofItself, b.ofItself) };
}
