/** What every export demands of a weight: the last check of values before they are stored. */
import { GpruneError } from "../errors.ts";
import type { WrittenGgmlType } from "../io/ggml_encode.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** The largest finite float16. */
const MAX_F16 = 65_504;

/** Formats that hold any float32; the others are float16 or have float16 scales. */
const WIDE: ReadonlySet<WrittenGgmlType> = new Set<WrittenGgmlType>(["F32", "BF16"]);

/**
 * The tensor itself.
 * @throws GpruneError NOT_FINITE for a tensor with a value that its format does not hold
 */
export function requireFinite(name: string, tensor: Tensor, format: WrittenGgmlType): Tensor {
  const isWide = WIDE.has(format);
  const limit = isWide ? Number.MAX_VALUE : MAX_F16;
  const bad = tensor.data.findIndex((value) => !(Math.abs(value) <= limit));
  if (bad < 0) return tensor;
  const value = tensor.data[bad]!;
  throw new GpruneError("NOT_FINITE", `${name}: expected finite ${format} values, got ${value}`, {
    hint: isWide ? "The weights are damaged." : "Store it as bf16 or f32 with --dtype.",
  });
}
