/**
 * Matrices of experts in GGUF files: those of all experts are one tensor, one expert's after another's (`ffn_*_exps`).
 * Each may have the rows of gate_proj and then those of up_proj (`ffn_gate_up_exps`).
 */
import { putColumns, type RowRange, type Tensor, type TensorSource, zeros } from "../../tensor/tensor.ts";
import { expertNeurons, type ModelSpec } from "../spec.ts";
import type { StackedExperts } from "../stacked_experts.ts";
import { projectionName } from "../weights.ts";

/** A projection of experts in a tensor that also has another. */
export interface JoinedRows {
  /** Rows of an expert. */
  readonly size: number;
  /** Rows before them in the expert's matrix. */
  readonly before: number;
}

/** The projections of experts that one tensor may have, by name. */
export function joinedWeights({ layers }: ModelSpec): ReadonlyMap<string, JoinedRows> {
  const entries = layers.flatMap((layer, index) => {
    if (layer.experts === undefined) return [];
    const size = expertNeurons(layer);
    return [
      [projectionName(index, "gate_proj"), { size, before: 0 }] as const,
      [projectionName(index, "up_proj"), { size, before: size }] as const,
    ];
  });
  return new Map(entries);
}

/** Row of the tensor that holds row `row` of a projection. */
export function joinedRow(row: number, { size, before }: JoinedRows): number {
  return row + Math.floor(row / size) * size + before;
}

/** Reads rows of a projection of experts from a tensor that also has another. */
export async function readJoined(
  source: TensorSource,
  tensor: string,
  { rows: { start, end }, joined }: { readonly rows: RowRange; readonly joined: JoinedRows },
): Promise<Tensor> {
  const width = source.info(tensor)!.shape[1]!;
  const result = zeros([end - start, width]);
  for (let row = start; row < end; ) {
    const next = Math.min(end, (Math.floor(row / joined.size) + 1) * joined.size);
    const from = joinedRow(row, joined);
    const { data } = await source.read(tensor, { start: from, end: from + next - row });
    result.data.set(data, (row - start) * width);
    row = next;
  }
  return result;
}

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
