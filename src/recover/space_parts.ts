/**
 * Spaces by their equal parts: each expert has an output projection of its own, and least squares fits it as that of a
 * space by itself. Most spaces have one part.
 */
import { momentsOfPart, type SpaceMoments } from "../calibrate/moments.ts";
import type { Space } from "../model/spaces.ts";
import { loaded } from "../tensor/stash.ts";
import { gatherBlocks, putColumns, type Tensor, zeros } from "../tensor/tensor.ts";
import type { DenseProjection } from "./regression.ts";

/** A part, as a space of its own. */
export interface SpacePart {
  readonly space: Space;
  readonly projection: DenseProjection;
  readonly moments: SpaceMoments;
  /** The units among some of the whole space that are the part's, by their places in it. */
  unitsOf(units: readonly number[]): readonly number[];
}

/** The parts of a space one by one. @param moments - of the whole space */
export async function* partsOf(
  space: Space,
  { weight, bias }: DenseProjection,
  moments: SpaceMoments,
): AsyncGenerator<SpacePart> {
  const { parts, unitChannels: blockSize } = space;
  const units = space.units / parts;
  const own = { ...space, units, parts: 1 };
  const whole = { ...moments, covariance: await loaded(moments.covariance) };
  for (let part = 0; part < parts; part++) {
    const first = part * units;
    const keep = Array.from({ length: units }, (_, unit) => first + unit);
    yield {
      space: own,
      projection: { weight: parts === 1 ? weight : gatherBlocks(weight, 1, { keep, blockSize }), bias },
      moments: momentsOfPart(whole, part, parts),
      unitsOf: (some) => some.map((unit) => unit - first).filter((unit) => unit >= 0 && unit < units),
    };
  }
}

/** The matrices [C, n] of parts side by side. */
export function joinedColumns(matrices: readonly Tensor[]): Tensor {
  const [first] = matrices;
  if (matrices.length === 1) return first!;
  const rows = first!.shape[0]!;
  const result = zeros([rows, matrices.reduce((sum, { shape }) => sum + shape[1]!, 0)]);
  let place = 0;
  for (const matrix of matrices) {
    putColumns(result, matrix, place);
    place += matrix.shape[1]!;
  }
  return result;
}

/** Tensors [V, a, b] of E parts, alike in shape, as [V, E, a, b]. */
export function stackedParts(tensors: readonly Tensor[]): Tensor {
  const [count = 0, ...each] = tensors[0]!.shape;
  const result = zeros([count, tensors.length, ...each]);
  const size = each.reduce((product, length) => product * length, 1);
  for (const [part, { data }] of tensors.entries()) {
    for (let v = 0; v < count; v++)
      result.data.set(data.subarray(v * size, (v + 1) * size), (v * tensors.length + part) * size);
  }
  return result;
}
