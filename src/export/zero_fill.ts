/**
 * A model with more neurons and KV groups, all of them zeros, which computes the same: a neuron of zero gate and up
 * rows gives 0, a KV group of zero values gives 0, and the columns that would read them are zeros besides.
 */

import { weightsOf } from "../model/spaces.ts";
import type { ModelSpec } from "../model/spec.ts";
import { unknownTensor } from "../tensor/memory.ts";
import { elementCount, type Tensor, type TensorSource } from "../tensor/tensor.ts";

/** Reads a weight in the shape it has in `spec`, new rows and columns after the old ones. */
export type WeightReader = (name: string) => Promise<Tensor>;

/** @param spec - a model whose widths are nowhere below those of the source's */
export function zeroFilled(source: TensorSource, spec: ModelSpec): WeightReader {
  const shapes = new Map(weightsOf(spec).map(({ name, shape }) => [name, shape]));
  return async (name) => {
    const shape = shapes.get(name);
    if (shape === undefined) throw unknownTensor(name);
    return filled(await source.read(name), shape);
  };
}

function filled(tensor: Tensor, shape: readonly number[]): Tensor {
  if (tensor.shape.join() === shape.join()) return tensor;
  const [width, newWidth] = [tensor, { shape }].map((one) => elementCount(one.shape.slice(1)));
  const data = new Float32Array(elementCount(shape));
  for (let row = 0; row < tensor.shape[0]!; row++) {
    data.set(tensor.data.subarray(row * width!, (row + 1) * width!), row * newWidth!);
  }
  return { shape, data };
}
