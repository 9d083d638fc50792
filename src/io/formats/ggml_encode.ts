/**
 * Encoders from float32 to the bytes of ggml types, one for each type that gprune writes. The decoders are in
 * ggml_types.ts.
 */
import { internalError } from "../../errors.ts";
import { encode } from "../../tensor/dtype.ts";
import { quantizeQ4, quantizeQ8 } from "./ggml_quantize.ts";
import { quantizeQ4K, quantizeQ6K } from "./ggml_quantize_k.ts";
import { GGML_TYPES, type GgmlType } from "./ggml_types.ts";

/** Encodes whole blocks of finite values; the result may be a view of them. */
type Encoder = (values: Float32Array) => Uint8Array;

/** The ggml types that gprune writes. */
export type WrittenGgmlType = "F32" | "F16" | "BF16" | "Q8_0" | "Q4_0" | "Q4_K" | "Q6_K";

const ENCODERS: Readonly<Record<WrittenGgmlType, Encoder>> = {
  F32: (values) => encode("F32", values),
  F16: (values) => encode("F16", values),
  BF16: (values) => encode("BF16", values),
  Q8_0: quantizeQ8,
  Q4_0: quantizeQ4,
  Q4_K: quantizeQ4K,
  Q6_K: quantizeQ6K,
};

/** Id, block size and block bytes of a written type. */
export function writtenGgmlType(name: WrittenGgmlType): GgmlType {
  const type = GGML_TYPES.get(name);
  if (type === undefined) throw internalError(`${name} has an encoder and no layout`);
  return type;
}

/**
 * Encodes values as a ggml type.
 * @param values - whole blocks; finite, and within float16 for F16
 * @returns `values.length / blockSize * blockBytes` bytes
 */
export function encodeGgml(name: WrittenGgmlType, values: Float32Array): Uint8Array {
  const { blockSize } = writtenGgmlType(name);
  if (values.length % blockSize !== 0)
    throw internalError(`${values.length} values for blocks of ${blockSize}`);
  return ENCODERS[name](values);
}
