import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { RopeSpec } from "../model/spec.ts";
import {
  cacheMask,
  causalMask,
  forestMask,
  inverseFrequencies,
  rotaryTables,
  spanPositions,
} from "./positions.ts";

const PLAIN: RopeSpec = { theta: 10_000, rotaryDim: 8, scaling: null };

/** modeling_rope_utils.py, `_compute_llama3_parameters`, channel by channel. */
function llama3Frequency(
  frequency: number,
  scaling: Extract<RopeSpec["scaling"], { type: "llama3" }>,
): number {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositions } = scaling;
  const wavelength = (2 * Math.PI) / frequency;
  if (wavelength > originalMaxPositions / lowFreqFactor) return frequency / factor;
  if (wavelength < originalMaxPositions / highFreqFactor) return frequency;
  const smooth = (originalMaxPositions / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
  return ((1 - smooth) * frequency) / factor + smooth * frequency;
}

describe("inverseFrequencies", () => {
  it("is theta^(-2i / rotaryDim)", () => {
    const expected = [1, 0.1, 0.01, 0.001].map(Math.fround);
    expect([...inverseFrequencies(PLAIN)]).toEqual(expected);
  });

  it("divides by the factor of linear scaling", () => {
    const scaled = inverseFrequencies({ ...PLAIN, scaling: { type: "linear", factor: 4 } });
    expect([...scaled]).toEqual([0.25, 0.025, 0.0025, 0.00025].map(Math.fround));
  });

  it("scales low, middle and high frequencies as Llama 3.1 does", () => {
    const scaling = {
      type: "llama3",
      factor: 8,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalMaxPositions: 8192,
    } as const;
    const rope: RopeSpec = { theta: 500_000, rotaryDim: 128, scaling };
    const plain = inverseFrequencies({ ...rope, scaling: null });
    const scaled = inverseFrequencies(rope);
    for (const [i, frequency] of scaled.entries()) {
      expect(frequency / llama3Frequency(500_000 ** ((-2 * i) / 128), scaling)).toBeCloseTo(1, 6);
    }
    const ratios = plain.map((frequency, i) => scaled[i]! / frequency);
    expect(ratios[0]).toBe(1);
    expect(ratios.at(-1)).toBe(1 / 8);
    expect(ratios.some((ratio) => ratio > 0.2 && ratio < 0.9)).toBe(true);
  });
});

describe("rotaryTables", () => {
  it("holds cos and sin of position times frequency", () => {
    const { cos, sin } = rotaryTables(PLAIN, spanPositions({ tokens: 5, offset: 100 }));
    expect(cos.shape).toEqual([5, 4]);
    expect(sin.shape).toEqual([5, 4]);
    for (let t = 0; t < 5; t++) {
      for (let i = 0; i < 4; i++) {
        const angle = (100 + t) * 10 ** -i;
        expect(cos.data[4 * t + i]).toBeCloseTo(Math.cos(angle), 5);
        expect(sin.data[4 * t + i]).toBeCloseTo(Math.sin(angle), 5);
      }
    }
  });

  it("continues where an offset says", () => {
    const whole = rotaryTables(PLAIN, spanPositions({ tokens: 9, offset: 0 }));
    const rest = rotaryTables(PLAIN, spanPositions({ tokens: 4, offset: 5 }));
    expect([...rest.cos.data]).toEqual([...whole.cos.data.subarray(5 * 4)]);
    expect([...rest.sin.data]).toEqual([...whole.sin.data.subarray(5 * 4)]);
  });
});

describe("causalMask and cacheMask", () => {
  it("show a query the keys up to itself, and of those the window's", () => {
    const sizes = fc.record({
      tokens: fc.integer({ min: 1, max: 6 }),
      offset: fc.integer({ min: 0, max: 6 }),
      room: fc.integer({ min: 0, max: 3 }),
      groupSize: fc.integer({ min: 1, max: 3 }),
      window: fc.option(fc.integer({ min: 1, max: 8 })),
    });
    fc.assert(
      fc.property(sizes, ({ tokens, offset, room, groupSize, window }) => {
        const own = causalMask(tokens, groupSize, window);
        const past = cacheMask({ tokens, offset }, offset + room, { groupSize, window });
        const rows = groupSize * tokens;
        expect([own.shape, past.shape]).toEqual([
          [rows, tokens],
          [rows, offset + room],
        ]);
        const seen = (row: number, key: number): number => {
          const distance = offset + (row % tokens) - key;
          return distance >= 0 && distance < (window ?? Number.POSITIVE_INFINITY) ? 0 : Math.fround(-1e30);
        };
        const hidden = Math.fround(-1e30);
        for (let row = 0; row < rows; row++) {
          const places = Array.from({ length: offset + room }, (_, j) =>
            j < offset ? seen(row, j) : hidden,
          );
          expect([...past.data.subarray(row * places.length, (row + 1) * places.length)]).toEqual(places);
          const keys = Array.from({ length: tokens }, (_, t) => seen(row, offset + t));
          expect([...own.data.subarray(row * tokens, (row + 1) * tokens)]).toEqual(keys);
        }
      }),
    );
  });
});

describe("forestMask", () => {
  it("is the causal mask when every token follows the one before it", () => {
    const sizes = fc.record({
      tokens: fc.integer({ min: 1, max: 8 }),
      groupSize: fc.integer({ min: 1, max: 3 }),
      window: fc.option(fc.integer({ min: 1, max: 9 })),
    });
    fc.assert(
      fc.property(sizes, ({ tokens, groupSize, window }) => {
        const chain = Int32Array.from({ length: tokens }, (_, t) => t - 1);
        const expected = causalMask(tokens, groupSize, window);
        expect(forestMask(chain, groupSize, window)).toEqual(expected);
      }),
    );
  });

  it("shows a token its predecessors and nothing of other branches", () => {
    // 0 1 2 is a sequence, 3 another end of it, 4 5 a sequence of its own
    const visible = (window: number | null): number[][] => {
      const { data } = forestMask(Int32Array.of(-1, 0, 1, 1, -1, 4), 1, window);
      const row = (t: number): number[] => [0, 1, 2, 3, 4, 5].filter((key) => data[t * 6 + key] === 0);
      return [0, 1, 2, 3, 4, 5].map(row);
    };
    expect(visible(null)).toEqual([[0], [0, 1], [0, 1, 2], [0, 1, 3], [4], [4, 5]]);
    expect(visible(2)).toEqual([[0], [0, 1], [1, 2], [1, 3], [4], [4, 5]]);
  });
});
