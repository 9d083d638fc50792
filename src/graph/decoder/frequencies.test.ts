import { describe, expect, test } from "vitest";
import { LLAMA3 } from "../../../test/scaled_ropes.ts";
import { tinySpec } from "../../../test/tiny_model.ts";
import {
  type DynamicScaling,
  type Llama3Scaling,
  type LongropeScaling,
  type RopeSpec,
  YARN_DEFAULTS,
  type YarnScaling,
} from "../../model/rope_spec.ts";
import type { ModelSpec } from "../../model/spec.ts";
import { hasSameFrequencies, inverseFrequencies } from "./frequencies.ts";

const LONGROPE: LongropeScaling = {
  type: "longrope",
  shortFactors: [1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8],
  longFactors: [1.5, 2, 3, 4, 6, 8, 12, 16],
  originalMaxPositions: 64,
  attentionFactor: 1.2,
};
const DYNAMIC: DynamicScaling = { type: "dynamic", factor: 4, originalMaxPositions: 64 };
const PLAIN: RopeSpec = { theta: 10_000, rotaryDim: 8, scaling: null };

/** modeling_rope_utils.py, `_compute_llama3_parameters`, channel by channel. */
function llama3Frequency(frequency: number, scaling: Llama3Scaling): number {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositions } = scaling;
  const wavelength = (2 * Math.PI) / frequency;
  if (wavelength > originalMaxPositions / lowFreqFactor) return frequency / factor;
  if (wavelength < originalMaxPositions / highFreqFactor) return frequency;
  const smooth = (originalMaxPositions / wavelength - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
  return ((1 - smooth) * frequency) / factor + smooth * frequency;
}

describe("inverseFrequencies", () => {
  test("is theta^(-2i / rotaryDim)", () => {
    const expected = [1, 0.1, 0.01, 0.001].map(Math.fround);
    expect([...inverseFrequencies(PLAIN, 1)]).toEqual(expected);
  });

  test("divides by the factor of linear scaling", () => {
    const scaled = inverseFrequencies({ ...PLAIN, scaling: { type: "linear", factor: 4 } }, 1);
    expect([...scaled]).toEqual([0.25, 0.025, 0.0025, 0.00025].map(Math.fround));
  });

  test("scales low, middle and high frequencies as Llama 3.1 does", () => {
    const rope: RopeSpec = { theta: 500_000, rotaryDim: 128, scaling: LLAMA3 };
    const plain = inverseFrequencies({ ...rope, scaling: null }, 1);
    const scaled = inverseFrequencies(rope, 1);
    for (const [i, frequency] of scaled.entries()) {
      expect(frequency / llama3Frequency(500_000 ** ((-2 * i) / 128), LLAMA3)).toBeCloseTo(1, 6);
    }
    const ratios = plain.map((frequency, i) => scaled[i]! / frequency);
    expect(ratios[0]).toBe(1);
    expect(ratios.at(-1)).toBe(1 / 8);
    expect(ratios.some((ratio) => ratio > 0.2 && ratio < 0.9)).toBe(true);
  });

  test.each<[string, number, Partial<YarnScaling>, readonly number[]]>([
    [
      "over whole channels",
      10_000,
      {},
      [1, 0.23717082, 0.049999997, 0.0079056947, 0.0024999999, 0.00079056947, 0.00025000001, 7.9056947e-5],
    ],
    [
      "of Qwen 2.5",
      1_000_000,
      { originalMaxPositions: 32_768 },
      [1, 0.17782794, 0.031622779, 0.0042175599, 0.00050000002, 4.4456985e-5, 7.9056936e-6, 1.4058534e-6],
    ],
    [
      "with its own turns, not truncated",
      10_000,
      { factor: 8, betaFast: 8, betaSlow: 2, truncate: false },
      [1, 0.13464938, 0.0125, 0.0039528473, 0.00125, 0.00039528473, 0.00012500001, 3.9528473e-5],
    ],
  ])("gives the frequencies of transformers' YaRN %s", (_, theta, change, expected) => {
    const scaling: YarnScaling = {
      ...YARN_DEFAULTS,
      type: "yarn",
      factor: 4,
      originalMaxPositions: 64,
      attentionFactor: 1,
      ...change,
    };
    const found = inverseFrequencies({ theta, rotaryDim: 16, scaling }, 64);
    expect(found).toHaveLength(expected.length);
    for (const [i, frequency] of found.entries()) expect(frequency / expected[i]!).toBeCloseTo(1, 6);
  });

  test.each([
    [
      64,
      [
        0.90909088, 0.26352313, 0.07692308, 0.022587698, 0.0066666668, 0.0019764237, 0.00058823527,
        0.0001756821,
      ],
    ],
    [
      65,
      [
        0.66666669, 0.15811388, 0.033333335, 0.0079056947, 0.0016666667, 0.00039528473, 8.3333332e-5,
        1.9764237e-5,
      ],
    ],
  ])("gives the frequencies of transformers' longrope in sequences of %d tokens", (tokens, expected) => {
    const found = inverseFrequencies({ theta: 10_000, rotaryDim: 16, scaling: LONGROPE }, tokens);
    for (const [i, frequency] of found.entries()) expect(frequency / expected[i]!).toBeCloseTo(1, 6);
  });
});

describe("dynamic scaling", () => {
  test.each([
    [64, [1, 0.31622776, 0.1, 0.031622779, 0.0099999998, 0.0031622779, 0.001, 0.00031622779]],
    [65, [1, 0.31350085, 0.098282784, 0.030811736, 0.0096595054, 0.0030282631, 0.00094936311, 0.00029762613]],
    [
      200,
      [1, 0.22925837, 0.052559398, 0.012049682, 0.0027624907, 0.00063332409, 0.00014519485, 3.3287135e-5],
    ],
  ])("gives the frequencies of transformers in sequences of %d tokens", (tokens, expected) => {
    const found = inverseFrequencies({ theta: 10_000, rotaryDim: 16, scaling: DYNAMIC }, tokens);
    for (const [i, frequency] of found.entries()) expect(frequency / expected[i]!).toBeCloseTo(1, 6);
  });
});

describe("hasSameFrequencies", () => {
  const scaled = (scaling: RopeSpec["scaling"]): Pick<ModelSpec, "layers"> =>
    tinySpec({ layers: [{ rope: null }, { rope: { ...PLAIN, scaling } }] });

  test("tells sequences that are rotated otherwise for their length, and no others", () => {
    expect(hasSameFrequencies(scaled(LONGROPE), [1, 64])).toBe(true);
    expect(hasSameFrequencies(scaled(LONGROPE), [64, 65])).toBe(false);
    expect(hasSameFrequencies(scaled(LONGROPE), [65, 9999])).toBe(true);
    expect(hasSameFrequencies(scaled(DYNAMIC), [1, 64])).toBe(true);
    expect(hasSameFrequencies(scaled(DYNAMIC), [64, 65])).toBe(false);
    expect(hasSameFrequencies(scaled(DYNAMIC), [65, 66])).toBe(false);
    expect(hasSameFrequencies(scaled({ type: "linear", factor: 2 }), [1, 9999])).toBe(true);
  });
});
