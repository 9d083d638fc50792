/** What every export demands of a weight. */
import { GpruneError } from "../errors.ts";
import type { FloatDType } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** The largest finite float16. */
const MAX_F16 = 65_504;

/**
 * The tensor itself.
 * @throws GpruneError NOT_FINITE when a value is not finite in `dtype`
 */
export function requireFinite(name: string, tensor: Tensor, dtype: FloatDType): Tensor {
  const limit = dtype === "F16" ? MAX_F16 : Number.MAX_VALUE;
  const bad = tensor.data.findIndex((value) => !(Math.abs(value) <= limit));
  if (bad < 0) return tensor;
  throw new GpruneError("NOT_FINITE", `${name}: expected finite ${dtype} values, got ${tensor.data[bad]}`, {
    hint: dtype === "F16" ? "Store it as bf16 or f32 with --dtype." : "The weights are damaged.",
  });
}
