import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import type { GpruneError } from "../../errors.ts";
import { dequantizerOf, GGML_TYPES, ggmlTypeOfId } from "./ggml_types.ts";

/** Random blocks and gguf-py's values for them, made by scripts/make-ggml-fixtures.py. */
const fixtures: Record<string, { bytes: string; values: string }> = JSON.parse(
  readFileSync(new URL("../../../test/fixtures/ggml-quants.json", import.meta.url), "utf8"),
);

function base64(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "base64"));
}

describe("dequantisation", () => {
  const readable = [...GGML_TYPES.values()].filter((type) => type.dequantize !== null);

  test("has a fixture for every readable type", () => {
    expect(Object.keys(fixtures).sort()).toEqual(readable.map((type) => type.name).sort());
  });

  test.each(readable)("$name gives gguf-py's values bit for bit", (type) => {
    const fixture = fixtures[type.name]!;
    const bytes = base64(fixture.bytes);
    const expected = new Float32Array(base64(fixture.values).buffer);
    expect(bytes.length).toBe((expected.length / type.blockSize) * type.blockBytes);
    const values = new Float32Array(expected.length);
    dequantizerOf(type, "test")(bytes, values);
    // A negative zero equals a zero here: q = 0 with a negative scale.
    expect(values.every((value, i) => value === expected[i])).toBe(true);
  });

  test.each(readable)("$name reads bytes at odd offsets and writes only its output", (type) => {
    const bytes = base64(fixtures[type.name]!.bytes).subarray(0, type.blockBytes);
    const shifted = new Uint8Array(type.blockBytes + 1);
    shifted.set(bytes, 1);
    const padded = new Float32Array(type.blockSize + 2).fill(7);
    dequantizerOf(type, "test")(shifted.subarray(1), padded.subarray(1, -1));
    const alone = new Float32Array(type.blockSize);
    dequantizerOf(type, "test")(bytes, alone);
    expect([...padded]).toEqual([7, ...alone, 7]);
  });
});

describe("the table", () => {
  test("knows types by number", () => {
    expect(ggmlTypeOfId(12)?.name).toBe("Q4_K");
    expect(ggmlTypeOfId(4)).toBeUndefined();
    expect(new Set([...GGML_TYPES.values()].map((type) => type.id)).size).toBe(GGML_TYPES.size);
  });

  test("refuses types it knows by name only, and says what to do", () => {
    expect(() => dequantizerOf(GGML_TYPES.get("IQ4_XS")!, "a.gguf: blk.0")).toThrow(
      expect.objectContaining({
        code: "UNSUPPORTED",
        message: expect.stringContaining("IQ4_XS"),
        hint: expect.stringContaining("Q8_0"),
      }) as GpruneError,
    );
  });
});
