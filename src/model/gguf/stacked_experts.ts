/**
 * Matrices of experts in GGUF files: those of all experts are one tensor, one expert's after another's (`ffn_*_exps`).
 * For gate_proj and up_proj these are the rows of all neurons in our order; of down_proj, an expert's columns are a
 * matrix of their own.
 */
import { type BlockTensor, gatherBlockRows } from "../../tensor/blocks.ts";
import { putColumns, type RowRange, type Tensor, type TensorSource, zeros } from "../../tensor/tensor.ts";
import type { ModelSpec } from "../spec.ts";
import { projectionName } from "../weights.ts";

/** A matrix of experts. */
export interface StackedExperts {
  /** E. */
  readonly count: number;
  /** The neurons of an expert are columns of the matrix, as in down_proj; else rows. */
  readonly inRow: boolean;
}

/** The matrices of experts, by name. */
export function stackedWeights({ layers }: Pick<ModelSpec, "layers">): ReadonlyMap<string, StackedExperts> {
  const entries = layers.flatMap(({ experts }, layer) => {
    if (experts === undefined) return [];
    const { count } = experts;
    return (["gate_proj", "up_proj", "down_proj"] as const).map((part) => {
      return [projectionName(layer, part), { count, inRow: part === "down_proj" }] as const;
    });
  });
  return new Map(entries);
}

/** The shape in the file, [E, I, C] or [E, C, I], of a matrix, or of whole experts of it. @param count - of these */
export function stackedShape(
  [rows, columns]: readonly [number, number],
  { inRow }: StackedExperts,
  count: number,
): readonly [number, number, number] {
  return inRow ? [count, rows, columns / count] : [count, rows / count, columns];
}

/** The shape [C, F] of a matrix whose experts are columns. @param stored - that of the rows of all its matrices */
export function unstackedShape(
  [lines = 0, width = 0]: readonly number[],
  { count }: StackedExperts,
): readonly [number, number] {
  return [lines / count, width * count];
}

/** A matrix as it is stored. */
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

/**
 * Reads rows of a matrix [C, F] whose experts are columns.
 * @param source - gives the rows of all experts' matrices one after another
 * @param count - C
 */
export async function readUnstacked(
  source: TensorSource,
  tensor: string,
  {
    rows,
    count,
    experts,
  }: { readonly rows: RowRange; readonly count: number; readonly experts: StackedExperts },
): Promise<Tensor> {
  const { start, end } = rows;
  const [, columns] = unstackedShape(source.info(tensor)?.shape ?? [], experts);
  const width = columns / experts.count;
  const result = zeros([end - start, columns]);
  for (let expert = 0; expert < experts.count; expert++) {
    const first = expert * count;
    putColumns(result, await source.read(tensor, { start: first + start, end: first + end }), expert * width);
  }
  return result;
}

/** A matrix in blocks whose experts are columns. @param matrices - the rows of all experts' matrices */
export function unstackedBlocks(matrices: BlockTensor, experts: StackedExperts): BlockTensor {
  const shape = unstackedShape(matrices.shape, experts);
  const { count } = experts;
  const stored = (line: number): number => (line % count) * shape[0] + Math.floor(line / count);
  return { ...gatherBlockRows(matrices, matrices.shape[0], stored), shape };
}
