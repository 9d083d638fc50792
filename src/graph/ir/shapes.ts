/** Shapes of the values of a graph, whose sizes may be known only when it runs. */
import { internalError } from "../../errors.ts";

/** A size known when the graph is built, or the name of one known when it runs. */
export type Dim = number | string;

/** A number of rows that depends on the values of a graph, from 0 to B * T, and may be another for each use. */
export const SOME_ROWS = "R";

/** NumPy broadcasting of two shapes. */
export function broadcast(a: readonly Dim[], b: readonly Dim[]): readonly Dim[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, axis) => {
    const left = a[axis - rank + a.length] ?? 1;
    const right = b[axis - rank + b.length] ?? 1;
    if (left !== right && left !== 1 && right !== 1) {
      throw internalError(`shapes [${a.join(", ")}] and [${b.join(", ")}] do not broadcast`);
    }
    return left === 1 ? right : left;
  });
}

/** A size that is larger by a number; `T+2` where it is known when the graph runs. */
export function plus(dim: Dim, more: number): Dim {
  if (more === 0) return dim;
  return typeof dim === "number" ? dim + more : `${dim}+${more}`;
}

/** Sizes when all are known, else undefined. */
export function fixedSizes(dims: readonly Dim[]): readonly number[] | undefined {
  return dims.every((dim) => typeof dim === "number") ? dims : undefined;
}
