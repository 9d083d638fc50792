/** Size of a model's weights as they are stored. */
import { internalError } from "../errors.ts";
import { GGML_TYPES } from "../io/formats/ggml_types.ts";
import { STORED_DTYPES } from "../tensor/dtype.ts";
import { elementCount } from "../tensor/tensor.ts";
import type { Model } from "./model.ts";
import { weightsOf } from "./weights.ts";

/** Bytes of all weights in their stored types, without headers, other files, and the scales of float8. */
export function storedBytes({ spec, weights, origin }: Model): number {
  return weightsOf(spec).reduce((sum, { name, shape }) => {
    const dtype = weights.info(name)?.dtype;
    if (dtype === undefined) throw internalError(`${origin.name}: no tensor ${name}`);
    return sum + elementCount(shape) * bytesPerElement(dtype);
  }, 0);
}

function bytesPerElement(dtype: string): number {
  const bits = STORED_DTYPES.get(dtype)?.bits;
  if (bits !== undefined) return bits / 8;
  const block = GGML_TYPES.get(dtype);
  if (block === undefined) throw internalError(`dtype ${dtype}`);
  return block.blockBytes / block.blockSize;
}
