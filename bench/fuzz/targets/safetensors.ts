/** Files in the safetensors format: headers with wrong values, damaged bytes. */
import { join } from "node:path";
import fc from "fast-check";
import { openSafetensors } from "../../../src/io/formats/safetensors.ts";
import { elementCount } from "../../../src/tensor/tensor.ts";
import { safetensorsBytes } from "../../../test/safetensors_builder.ts";
import type { FuzzTarget } from "../harness.ts";
import { damaged, jsonBytes, rarely, tamperedJson } from "../mutate.ts";

/** Bytes of an element; some dtypes are listed but cannot be read. */
const DTYPES = {
  F32: 4,
  F16: 2,
  BF16: 2,
  F64: 8,
  I8: 1,
  U8: 1,
  I32: 4,
  I64: 8,
  BOOL: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
} as const;

const tensor = fc.record({
  dtype: fc.constantFrom(...(Object.keys(DTYPES) as (keyof typeof DTYPES)[])),
  shape: fc.array(fc.nat(4), { maxLength: 3 }),
});
const tensors = fc.dictionary(
  fc.oneof(fc.constantFrom("a", "model.norm.weight", "\u001b[31m", "ü"), fc.string({ maxLength: 6 })),
  tensor,
  { maxKeys: 4, noNullPrototype: true },
);

/** A valid header: tensors are contiguous. */
const header = fc.tuple(tensors, fc.boolean()).map(([parts, hasMetadata]): Record<string, unknown> => {
  let end = 0;
  const entries = Object.entries(parts).map(([name, { dtype, shape }]) => {
    const start = end;
    end += elementCount(shape) * DTYPES[dtype];
    return [name, { dtype, shape, data_offsets: [start, end] }] as const;
  });
  return { ...Object.fromEntries(entries), ...(hasMetadata && { __metadata__: { format: "pt" } }) };
});

const file = fc
  .tuple(
    header.chain((value) => {
      const ends = Object.values(value).flatMap(
        (entry) => (entry as { data_offsets?: number[] }).data_offsets ?? [],
      );
      const size = Math.max(0, ...ends);
      return fc.tuple(damaged(tamperedJson(fc.constant(value)).map(jsonBytes)), fc.constant(size));
    }),
    fc.oneof({ arbitrary: fc.constant(0), weight: 6 }, fc.integer({ min: -9, max: 9 })),
    rarely(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })),
  )
  .map(([[text, size], more, length]) => {
    const bytes = Buffer.from(safetensorsBytes(text, Math.max(0, size + more)));
    if (length !== null) bytes.writeBigUInt64LE(length);
    return bytes as Uint8Array;
  });

export const safetensorsTarget: FuzzTarget = {
  name: "safetensors",
  share: 5,
  files: fc.oneof({ arbitrary: file, weight: 4 }, damaged(file)).map((bytes) => ({ "x.safetensors": bytes })),
  open: async (directory) => {
    const source = await openSafetensors(join(directory, "x.safetensors"));
    return async () => {
      try {
        for (const name of source.names) {
          const { shape } = source.info(name)!;
          const read = await source.read(name).catch((error: unknown) => unreadable(error));
          if (read !== null && read.data.length !== elementCount(shape))
            throw new Error(`${name}: wrong size`);
        }
      } finally {
        await source.close();
      }
    };
  },
};

/** Accepts that some dtypes are not read. */
function unreadable(error: unknown): null {
  if (error instanceof Error && "code" in error && error.code === "UNSUPPORTED") return null;
  throw error;
}
