/**
 * Matrices of experts in GGUF files: those of all experts are one tensor, one expert's after another's (`ffn_*_exps`).
 */
import { putColumns, type RowRange, type Tensor, type TensorSource, zeros } from "../../tensor/tensor.ts";
import type { StackedExperts } from "../stacked_experts.ts";

/** The shape [C, F] of a matrix whose experts are columns. @param stored - that of the rows of all its matrices */
export function unstackedShape(
  [lines = 0, width = 0]: readonly number[],
  { count }: StackedExperts,
): readonly [number, number] {
  return [lines / count, width * count];
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
