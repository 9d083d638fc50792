import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { randomStream } from "../../tensor/random.ts";
import { encodeGgml, type WrittenGgmlType, writtenGgmlType } from "./ggml_encode.ts";
import { dequantizerOf } from "./ggml_types.ts";

/** Blocks of 256 numbers and llama.cpp's bytes for them, made by scripts/make-ggml-quantized.py. */
const fixtures: Record<string, Record<string, string>> = JSON.parse(
  readFileSync(new URL("../../../test/fixtures/ggml-quantized.json", import.meta.url), "utf8"),
);

const QUANTISED = ["Q8_0", "Q4_0", "Q4_K", "Q6_K"] as const;
const HALVES = ["F16", "BF16"] as const;
const ALL: readonly WrittenGgmlType[] = ["F32", ...HALVES, ...QUANTISED];

function bytesOf(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "base64"));
}

function decoded(name: WrittenGgmlType, bytes: Uint8Array): Float32Array {
  const type = writtenGgmlType(name);
  const values = new Float32Array((bytes.length / type.blockBytes) * type.blockSize);
  dequantizerOf(type, "test")(bytes, values);
  return values;
}

function largest(values: Float32Array): number {
  return values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

describe("bytes", () => {
  test.each(Object.keys(fixtures))("are llama.cpp's for %s", (block) => {
    const { values, ...expected } = fixtures[block]!;
    const numbers = new Float32Array(bytesOf(values!).buffer);
    expect(Object.keys(expected).sort()).toEqual([...QUANTISED, ...HALVES].sort());
    for (const [name, bytes] of Object.entries(expected)) {
      const ours = encodeGgml(name as WrittenGgmlType, numbers);
      expect({ name, bytes: Buffer.from(ours).toString("base64") }).toEqual({ name, bytes });
    }
  });

  test("of blocks do not depend on their neighbours", () => {
    const blocks = Object.values(fixtures).map(({ values }) => new Float32Array(bytesOf(values!).buffer));
    const together = Float32Array.from(blocks.flatMap((block) => [...block]));
    for (const name of ALL) {
      const separately = Buffer.concat(blocks.map((block) => encodeGgml(name, block)));
      expect(Buffer.from(encodeGgml(name, together)).equals(separately)).toBe(true);
    }
  });

  test("are as many as the type says, and only whole blocks are taken", () => {
    for (const name of ALL) {
      const { blockSize, blockBytes } = writtenGgmlType(name);
      expect(encodeGgml(name, new Float32Array(512)).length).toBe((512 / blockSize) * blockBytes);
    }
    expect(() => encodeGgml("Q8_0", new Float32Array(48))).toThrow("internal");
  });
});

/** Largest |error| over the largest |w| of a block: half a step of the coarsest grid, and the rounding of scales. */
const WORST_ERROR: Readonly<Record<(typeof QUANTISED)[number], number>> = {
  Q8_0: 0.5 / 127 + 0.001,
  Q4_0: 1 / 8 + 0.001,
  Q4_K: 0.15,
  Q6_K: 0.04,
};

describe("values", () => {
  test.each(QUANTISED)("come back from %s within its step", (name) => {
    const blockOf = fc.record({
      seed: fc.nat(),
      exponent: fc.integer({ min: -1, max: 3 }),
      shift: fc.constantFrom(0, 0.5, 1),
    });
    fc.assert(
      fc.property(blockOf, ({ seed, exponent, shift }) => {
        const next = randomStream(seed, name);
        const values = Float32Array.from({ length: 256 }, () => (next() - shift) * 10 ** exponent);
        const back = decoded(name, encodeGgml(name, values));
        const errors = values.map((value, i) => value - back[i]!);
        expect(largest(errors)).toBeLessThanOrEqual(WORST_ERROR[name] * largest(values));
      }),
      { seed: 1, numRuns: 60 },
    );
  });

  test.each(["Q8_0", "Q4_0"] as const)("that came from %s come back as they were", (name) => {
    const values = new Float32Array(bytesOf(fixtures.normal!.values!).buffer);
    const once = decoded(name, encodeGgml(name, values));
    const twice = decoded(name, encodeGgml(name, once));
    const step = largest(once) / 100;
    twice.forEach((value, i) => {
      expect(Math.abs(value - once[i]!)).toBeLessThan(step / 100);
    });
  });
});
