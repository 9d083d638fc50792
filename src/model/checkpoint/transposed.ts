/** Checkpoints whose layers have their matrices as [in, out], such as those of GPT-2. */
import { derivedSource } from "../../tensor/derived.ts";
import type { RowRange, Tensor, TensorSource } from "../../tensor/tensor.ts";
import { transposed } from "../../tensor/transposed.ts";

/** Whether a weight, by its usual name, is a matrix of a layer. */
export function isLayerMatrix(name: string, shape: readonly number[]): boolean {
  return shape.length === 2 && name.startsWith("model.layers.");
}

/** A view of the tensors with the matrices of layers as [out, in]; each is read whole. */
export function withTransposedMatrices(source: TensorSource): TensorSource {
  const matrices = source.names.flatMap((name) => {
    const { dtype, shape } = source.info(name)!;
    if (!isLayerMatrix(name, shape)) return [];
    const read = async (rows: RowRange): Promise<Tensor> => transposed(await source.read(name), rows);
    return [[name, { info: { dtype, shape: shape.toReversed() }, read }] as const];
  });
  return derivedSource(source, new Map(matrices));
}
