import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { evenly, evenlyWithin } from "./evenly.ts";

const range = (count: number): readonly number[] => Array.from({ length: count }, (_, i) => i);

describe("evenly", () => {
  test("takes all when there are few, else the first of equal parts", () => {
    expect(evenly([1, 2, 3], 3)).toEqual([1, 2, 3]);
    expect(evenly(range(10), 4)).toEqual([0, 2, 5, 7]);
    expect(evenly(range(10), 1)).toEqual([0]);
  });
});

describe("evenlyWithin", () => {
  test("takes all that fit, about as many as fit of more, and one in any case", () => {
    expect(evenlyWithin(range(10), 10, () => 1)).toEqual(range(10));
    expect(evenlyWithin(range(10), 5, () => 1)).toEqual([0, 2, 4, 6, 8]);
    expect(evenlyWithin([7, 8], 5, (cost) => cost)).toEqual([7]);
    expect(evenlyWithin([], 5, () => 1)).toEqual([]);
  });

  test("never exceeds the limit with two items, whatever they cost, and keeps their order", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(100), { maxLength: 300 }), fc.nat(5000), (costs, most) => {
        const chosen = evenlyWithin([...costs.entries()], most, ([, cost]) => cost);
        const total = chosen.reduce((sum, [, cost]) => sum + cost, 0);
        if (chosen.length > 1) expect(total).toBeLessThanOrEqual(most);
        const places = chosen.map(([place]) => place);
        expect(places).toEqual([...new Set(places)].toSorted((a, b) => a - b));
        if (costs.length > 0) expect(chosen.length).toBeGreaterThan(0);
      }),
    );
  });
});
