/**
 * Matrices of experts one after another. For gate_proj and up_proj these are the rows of all neurons in our order; of
 * down_proj, an expert's columns are a matrix of their own.
 */
import type { Tensor } from "../tensor/tensor.ts";
import type { LayerSpec, ModelSpec } from "./spec.ts";
import { moduleOf } from "./weight_names.ts";

/** A matrix of experts. */
export interface StackedExperts {
  /** E. */
  readonly count: number;
  /** The neurons of an expert are columns of the matrix, as in down_proj; else rows. */
  readonly inRow: boolean;
}

/** The matrices of a layer's experts, by their names in the layer. */
export function stackedInLayer({ experts }: Pick<LayerSpec, "experts">): ReadonlyMap<string, StackedExperts> {
  if (experts === undefined) return new Map();
  const { count } = experts;
  const parts = (["gate_proj", "up_proj", "down_proj"] as const).map((part) => {
    return [`${moduleOf(part)}.weight`, { count, inRow: part === "down_proj" }] as const;
  });
  return new Map(parts);
}

/** The matrices of experts, by name. */
export function stackedWeights({ layers }: Pick<ModelSpec, "layers">): ReadonlyMap<string, StackedExperts> {
  return new Map(
    layers.flatMap((layer, index) =>
      Array.from(
        stackedInLayer(layer),
        ([name, experts]) => [`model.layers.${index}.${name}`, experts] as const,
      ),
    ),
  );
}

/** The shape [E, I, C] or [E, C, I] of a matrix, or of whole experts of it. @param count - of these */
export function stackedShape(
  [rows, columns]: readonly [number, number],
  { inRow }: StackedExperts,
  count: number,
): readonly [number, number, number] {
  return inRow ? [count, rows, columns / count] : [count, rows / count, columns];
}

/** The shape of the rows of all experts' matrices, [E * I, C] or [E * C, I]. */
export function stackedRows(shape: readonly number[], experts: StackedExperts): readonly [number, number] {
  const [count, rows, columns] = stackedShape(shape as readonly [number, number], experts, experts.count);
  return [count * rows, columns];
}

/** The numbers of a matrix, one expert's after another's. */
export function stacked({ shape, data }: Tensor, { count, inRow }: StackedExperts): Float32Array {
  if (!inRow) return data;
  const [rows, columns] = shape as [number, number];
  const width = columns / count;
  const result = new Float32Array(data.length);
  for (let line = 0; line < rows * count; line++) {
    const [row, expert] = [Math.floor(line / count), line % count];
    result.set(data.subarray(line * width, (line + 1) * width), (expert * rows + row) * width);
  }
  return result;
}

/** The matrix of each expert. */
export function expertMatrices(tensor: Tensor, experts: StackedExperts): readonly Tensor[] {
  const { count } = experts;
  const [, ...shape] = stackedShape(tensor.shape as readonly [number, number], experts, count);
  const data = stacked(tensor, experts);
  const size = data.length / count;
  return Array.from({ length: count }, (_, expert) => {
    return { shape, data: data.subarray(expert * size, (expert + 1) * size) };
  });
}
