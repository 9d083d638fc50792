import { uniformFloat64 } from "pure-rand/distribution/uniformFloat64";
import { xoroshiro128plus } from "pure-rand/generator/xoroshiro128plus";
import { describe, expect, test } from "vitest";
import { randomStream } from "./random.ts";

const draw = (seed: number, label: string, n = 2000): number[] => {
  const next = randomStream(seed, label);
  return Array.from({ length: n }, next);
};

const word = (value: bigint): bigint => BigInt.asUintN(32, value);

/** FNV-1a of a text of single bytes, as published (offset basis and prime of 32 bits). */
function fnv1a(text: string): bigint {
  let state = 2_166_136_261n;
  for (const byte of Buffer.from(text)) state = word((state ^ BigInt(byte)) * 16_777_619n);
  return state;
}

/** The finaliser of MurmurHash3 (fmix32). */
function finalised(state: bigint): bigint {
  const first = word((state ^ (state >> 16n)) * 0x85ebca6bn);
  const second = word((first ^ (first >> 13n)) * 0xc2b2ae35n);
  return second ^ (second >> 16n);
}

describe("randomStream", () => {
  test("is xoroshiro128+ from the finalised FNV-1a of seed and label, so that runs repeat in every version", () => {
    // Test vectors of both hashes' authors.
    expect(["", "a", "foobar"].map(fnv1a)).toEqual([0x811c9dc5n, 0xe40c292cn, 0xbf9cf968n]);
    expect([0n, 1n].map(finalised)).toEqual([0n, 0x514e28b7n]);
    for (const [seed, label] of [
      [0, "layers.0.ffn"],
      [1, "windows web"],
      [7, ""],
    ] as const) {
      const generator = xoroshiro128plus(Number(BigInt.asIntN(32, finalised(fnv1a(`${seed}/${label}`)))));
      expect(draw(seed, label, 5)).toEqual(Array.from({ length: 5 }, () => uniformFloat64(generator)));
    }
  });

  test("repeats for one seed and label, and differs for another", () => {
    expect(draw(1, "a")).toEqual(draw(1, "a"));
    expect(draw(1, "a")).not.toEqual(draw(2, "a"));
    expect(draw(1, "a")).not.toEqual(draw(1, "b"));
  });

  test("is uniform in [0, 1)", () => {
    const values = draw(5, "uniform");
    expect(values.every((x) => x >= 0 && x < 1)).toBe(true);
    expect(values.reduce((sum, x) => sum + x, 0) / values.length).toBeCloseTo(0.5, 1);
  });

  test("has first numbers that are uniform over neighbouring labels and seeds", () => {
    for (const first of [(i: number) => draw(0, `layers.${i}`, 1)[0]!, (i: number) => draw(i, "x", 1)[0]!]) {
      const values = Array.from({ length: 2000 }, (_, i) => first(i));
      const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
      const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length;
      expect(mean).toBeCloseTo(0.5, 1);
      expect(variance).toBeCloseTo(1 / 12, 2);
    }
  });
});
