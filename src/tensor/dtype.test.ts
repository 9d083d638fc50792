import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decode, decodeInto, encode, float16Pattern, float16Value, roundTo, STORED_DTYPES } from "./dtype.ts";

/** The formats narrower than float32, as their standards give them. */
const NARROW = [
  { dtype: "F16", exponentBits: 5, fractionBits: 10, infinity: 0x7c00 },
  { dtype: "BF16", exponentBits: 8, fractionBits: 7, infinity: 0x7f80 },
] as const;

/** Naive twin of encode and decode together: the nearest value of a binary format, by arithmetic in float64. */
function nearest(value: number, { exponentBits, fractionBits }: (typeof NARROW)[number]): number {
  if (!Number.isFinite(value) || value === 0) return value;
  const bias = 2 ** (exponentBits - 1) - 1;
  const magnitude = Math.abs(value);
  let exponent = 1 - bias;
  while (2 ** (exponent + 1) <= magnitude) exponent++;
  const step = 2 ** (exponent - fractionBits);
  const steps = magnitude / step;
  const below = Math.floor(steps);
  const up = steps - below > 0.5 || (steps - below === 0.5 && below % 2 === 1);
  const rounded = (up ? below + 1 : below) * step;
  const largest = (2 - 2 ** -fractionBits) * 2 ** bias;
  return Math.sign(value) * (rounded > largest ? Number.POSITIVE_INFINITY : rounded);
}

function fromBits(bits: readonly number[]): Float32Array {
  return new Float32Array(Uint32Array.from(bits).buffer);
}

function patternsOf(bytes: Uint8Array): Uint16Array {
  return new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
}

describe.each(NARROW)("$dtype", (format) => {
  const { dtype, infinity } = format;
  const all = Uint16Array.from({ length: 2 ** 16 }, (_, pattern) => pattern);
  const values = decode(dtype, new Uint8Array(all.buffer));

  test("every pattern survives decoding and encoding, NaN payloads included", () => {
    expect(patternsOf(encode(dtype, values))).toEqual(all);
  });

  test("a part of any length decodes to the same part, aligned or not", () => {
    const bytes = new Uint8Array(2 * 40);
    for (let length = 0; length <= 19; length++) {
      for (const start of [0x3bf9, 0x8000, infinity]) {
        bytes.set(new Uint8Array(all.buffer, 2 * start, 2 * length), 1);
        const part = decode(dtype, bytes.subarray(1, 1 + 2 * length));
        expect(patternsOf(encode(dtype, part))).toEqual(all.slice(start, start + length));
      }
    }
  });

  test("patterns are in the order of their values", () => {
    expect(values[0]).toBe(0);
    expect(values[0x8000]).toBe(-0);
    expect(values[infinity]).toBe(Number.POSITIVE_INFINITY);
    expect(values[infinity + 0x8000]).toBe(Number.NEGATIVE_INFINITY);
    for (let pattern = 1; pattern <= infinity; pattern++) {
      if (!(values[pattern]! > values[pattern - 1]!)) expect.fail(`pattern ${pattern}`);
      if (values[pattern + 0x8000] !== -values[pattern]!) expect.fail(`pattern ${pattern + 0x8000}`);
    }
    for (let pattern = infinity + 1; pattern < 0x8000; pattern++) {
      if (!Number.isNaN(values[pattern]) || !Number.isNaN(values[pattern + 0x8000]))
        expect.fail(`${pattern}`);
    }
  });

  test("ties between neighbours go to the even one, everything else to the nearer one", () => {
    for (let pattern = 0; pattern < infinity - 1; pattern++) {
      const tie = (values[pattern]! + values[pattern + 1]!) / 2;
      const [bits] = new Uint32Array(Float32Array.of(tie).buffer);
      const near = fromBits([bits! - 1, bits!, bits! + 1]);
      const even = pattern % 2 === 0 ? pattern : pattern + 1;
      const encoded = patternsOf(encode(dtype, near));
      if (encoded[0] !== pattern || encoded[1] !== even || encoded[2] !== pattern + 1) {
        expect.fail(`around pattern ${pattern}: ${encoded.join(", ")}`);
      }
    }
  });

  test("agrees with rounding by arithmetic on every kind of float32", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(2 ** 32 - 1), { maxLength: 100 }), (bits) => {
        const source = fromBits(bits);
        expect(decode(dtype, encode(dtype, source))).toEqual(source.map((value) => nearest(value, format)));
      }),
      { numRuns: 300, seed: 1 },
    );
  });

  test("what is too large becomes infinite and NaN stays NaN", () => {
    const encoded = encode(dtype, Float32Array.of(3.4028234e38, -3.4028234e38, Number.NaN));
    expect(patternsOf(encoded).subarray(0, 2)).toEqual(Uint16Array.of(infinity, infinity + 0x8000));
    expect(decode(dtype, encoded)[2]).toBeNaN();
    // NaNs whose payload is all in the bits that are cut off
    const encodedNaNs = encode(dtype, fromBits([0x7f800001, 0xff800001]));
    expect([...decode(dtype, encodedNaNs)]).toEqual([Number.NaN, Number.NaN]);
  });
});

test("float16 limits", () => {
  expect(
    [65504, 65519.996, 65520, 2 ** -24, 2 ** -25, 2 ** -25 * 1.0001, 2 ** -14].map(float16Pattern),
  ).toEqual([0x7bff, 0x7bff, 0x7c00, 0x0001, 0x0000, 0x0001, 0x0400]);
  expect([0x3c00, 0xc000, 0x3555].map(float16Value)).toEqual([1, -2, 0.333251953125]);
});

test("float8 has the values of PyTorch's float8_e4m3fn", () => {
  const all = Uint8Array.from({ length: 256 }, (_, pattern) => pattern);
  const values = decode("F8_E4M3", all);
  // torch 2.15: bytes.view(torch.float8_e4m3fn).float()
  const patterns = [0x00, 0x01, 0x07, 0x08, 0x38, 0x3f, 0x7e, 0x7f, 0x80, 0x81, 0xfe, 0xff];
  const expected = [0, 2 ** -9, 7 * 2 ** -9, 2 ** -6, 1, 1.875, 448, Number.NaN];
  expect(patterns.map((pattern) => values[pattern])).toEqual([...expected, -0, -(2 ** -9), -448, Number.NaN]);
  // Between zero and NaN each value is the one before and a step, which doubles every eight values.
  for (let pattern = 1; pattern < 0x7f; pattern++) {
    const step = 2 ** (Math.max(1, (pattern - 1) >> 3) - 10);
    expect(values[pattern]! - values[pattern - 1]!).toBe(step);
    expect(values[pattern + 0x80]).toBe(-values[pattern]!);
  }
});

test.each(["F32", "F16", "BF16"] as const)("roundTo %s rounds in place as encode does", (dtype) => {
  const values = Float32Array.from({ length: 5000 }, (_, i) => Math.sin(i) * 10 ** ((i % 80) - 40));
  values.set([0, -0, Number.NaN, Number.NEGATIVE_INFINITY, 65520, 3.4028234e38]);
  const expected = decode(dtype, encode(dtype, values).slice());
  const whole = Float32Array.of(9.87654321, ...values);
  expect(roundTo(dtype, whole.subarray(1))).toEqual(expected);
  expect(whole[0]).toBe(Math.fround(9.87654321));
  expect(whole.subarray(1)).toEqual(expected);
});

describe("other formats", () => {
  test.each([
    ["F64", Float64Array.of(1.5, -2e300, 1 / 3), [1.5, Number.NEGATIVE_INFINITY, Math.fround(1 / 3)]],
    ["F32", Float32Array.of(1.5, -0, 1e-45), [1.5, -0, Math.fround(1e-45)]],
    ["I64", BigInt64Array.of(-3n, 2n ** 40n), [-3, 2 ** 40]],
    ["U64", BigUint64Array.of(3n, 2n ** 63n), [3, 2 ** 63]],
    ["I32", Int32Array.of(-3, 2 ** 30), [-3, 2 ** 30]],
    ["U32", Uint32Array.of(3, 2 ** 31), [3, 2 ** 31]],
    ["I16", Int16Array.of(-3, 32767), [-3, 32767]],
    ["U16", Uint16Array.of(3, 65535), [3, 65535]],
    ["I8", Int8Array.of(-3, 127), [-3, 127]],
    ["U8", Uint8Array.of(3, 255), [3, 255]],
    ["BOOL", Uint8Array.of(0, 1), [0, 1]],
  ])("%s decodes, from unaligned bytes too", (dtype, stored, expected) => {
    const bytes = new Uint8Array(stored.buffer);
    const shifted = Buffer.concat([Buffer.alloc(1), bytes]).subarray(1);
    expect([...decode(dtype, bytes)]).toEqual(expected);
    expect([...decode(dtype, shifted)]).toEqual(expected);
  });

  test("F32 is encoded without a copy", () => {
    const values = Float32Array.of(1, 2, 3);
    const bytes = encode("F32", values.subarray(1));
    expect(bytes.buffer).toBe(values.buffer);
    expect(decode("F32", bytes)).toEqual(Float32Array.of(2, 3));
  });

  test("formats that are not read are refused", () => {
    const quantised = [...STORED_DTYPES].filter(([, { decode }]) => decode === null);
    expect(quantised.length).toBeGreaterThan(0);
    for (const [dtype] of quantised) {
      expect(() => decode(dtype, new Uint8Array(8))).toThrow(
        expect.objectContaining({ code: "UNSUPPORTED", message: expect.stringContaining(dtype) }),
      );
    }
  });

  test("a length that does not fit the target is a bug", () => {
    expect(() => decodeInto("F16", new Uint8Array(3), new Float32Array(1))).toThrow(/internal/);
    expect(() => decode("Q4", new Uint8Array(3))).toThrow(/internal/);
  });
});
