/** What every export demands of a weight: the last check of values before they are stored. */
import { GpruneError } from "../errors.ts";
import type { WrittenGgmlType } from "../io/formats/ggml_encode.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** The largest finite float16: of formats that are float16 or have float16 scales. */
const MAX_F16 = 65_504;

/** Largest magnitudes of the formats with the exponents of float32; bfloat16 rounds what is above to infinity. */
const WIDE: Partial<Readonly<Record<WrittenGgmlType, number>>> = {
  F32: Number.MAX_VALUE,
  BF16: 2 ** 127 * (2 - 2 ** -7),
};

/**
 * The tensor itself.
 * @throws GpruneError NOT_FINITE for a tensor with a value that its format does not hold, OUT_OF_RANGE where others
 * would
 */
export function requireFinite(name: string, tensor: Tensor, format: WrittenGgmlType): Tensor {
  const limit = WIDE[format] ?? MAX_F16;
  const bad = tensor.data.findIndex((value) => !(Math.abs(value) <= limit));
  if (bad < 0) return tensor;
  const value = tensor.data[bad]!;
  if (!Number.isFinite(value)) {
    const message = `${name}: expected finite ${format} values, got ${value}`;
    throw new GpruneError("NOT_FINITE", message, { hint: "The weights are damaged." });
  }
  throw new GpruneError("OUT_OF_RANGE", `${name}: expected ${format} values up to ${limit}, got ${value}`, {
    hint: `Store it as ${format in WIDE ? "" : "bf16 or "}f32 with --dtype.`,
  });
}
