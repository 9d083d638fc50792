/** Builds .safetensors files for tests, valid or not, without the writer under test. */
import { mapValues } from "../src/base/map_values.ts";

/** The header's entry of one tensor. */
export interface HeaderEntry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

/** A file: length of the header, header, data. @param data - its bytes, or their number */
export function safetensorsBytes(
  header: string | Uint8Array | object,
  data: Uint8Array | number = 0,
): Uint8Array {
  const raw = typeof header === "string" || header instanceof Uint8Array ? header : JSON.stringify(header);
  const headerBytes = Buffer.from(raw);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(headerBytes.length));
  return Buffer.concat([length, headerBytes, typeof data === "number" ? new Uint8Array(data) : data]);
}

/** A valid file of one-dimensional float32 tensors. */
export function float32File(tensors: Readonly<Record<string, readonly number[]>>): Uint8Array {
  return tensorFile(
    mapValues(tensors, (values) => {
      const bytes = new Uint8Array(Float32Array.from(values).buffer);
      return { dtype: "F32", shape: [values.length], bytes };
    }),
  );
}

/** A tensor as the file has it. */
export interface StoredTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** A valid file of any tensors. */
export function tensorFile(tensors: Readonly<Record<string, StoredTensor>>): Uint8Array {
  const header: Record<string, HeaderEntry> = {};
  let end = 0;
  for (const [name, { dtype, shape, bytes }] of Object.entries(tensors)) {
    const start = end;
    end += bytes.length;
    header[name] = { dtype, shape, data_offsets: [start, end] };
  }
  return safetensorsBytes(header, Buffer.concat(Object.values(tensors).map(({ bytes }) => bytes)));
}
