/** The last check of a tensor before an export stores it: every value finite and within the stored format's range. */
import { GpruneError } from "../errors.ts";
import type { WrittenGgmlType } from "../io/formats/ggml_encode.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** The largest finite float16, the limit of formats that are float16 or have float16 scales. */
const MAX_F16 = 65_504;

/** Largest magnitudes of the formats with float32's exponent; bfloat16 rounds anything above its own to infinity. */
const WIDE: Partial<Readonly<Record<WrittenGgmlType, number>>> = {
  F32: Number.MAX_VALUE,
  BF16: 2 ** 127 * (2 - 2 ** -7),
};

/**
 * Returns the tensor unchanged.
 * @throws GpruneError NOT_FINITE for a NaN or an infinity, OUT_OF_RANGE for a finite value beyond the format's range
 */
export function requireFinite(name: string, tensor: Tensor, format: WrittenGgmlType): Tensor {
  const limit = WIDE[format] ?? MAX_F16;
  const bad = tensor.data.findIndex((value) => !(Math.abs(value) <= limit));
  if (bad < 0) return tensor;
  const value = tensor.data[bad]!;
  if (!Number.isFinite(value)) {
    const message = `${name}: expected finite weights, got ${value}`;
    throw new GpruneError("NOT_FINITE", message, {
      hint: "The checkpoint is damaged; copy or download it again.",
    });
  }
  throw new GpruneError("OUT_OF_RANGE", `${name}: expected ${format} values up to ${limit}, got ${value}`, {
    hint: `Use the dtype f32${format in WIDE ? "" : ", or bf16 where the format has it"} (--dtype).`,
  });
}
