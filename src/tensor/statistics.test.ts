import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  ascendingOrder,
  averageRanks,
  clamp,
  largestBy,
  mean,
  populationDeviation,
  quantile,
  smallestBy,
  spearman,
  spread,
} from "./statistics.ts";

/** Few distinct values, so that ties are common. */
const tied = fc.array(fc.integer({ min: -3, max: 3 }), { minLength: 1, maxLength: 40 });
const pairs = fc.array(fc.tuple(fc.integer({ min: -9, max: 9 }), fc.integer({ min: -9, max: 9 })), {
  minLength: 1,
  maxLength: 40,
});

describe("averageRanks", () => {
  test("shares the mean rank among equal values", () => {
    expect([...averageRanks([10, 20, 10, 5])]).toEqual([1.5, 3, 1.5, 0]);
    expect([...averageRanks([7, 7, 7])]).toEqual([1, 1, 1]);
  });

  test("is the number of smaller values and half the number of other equal ones", () => {
    fc.assert(
      fc.property(tied, (values) => {
        const naive = values.map((x) => {
          const smaller = values.filter((y) => y < x).length;
          return smaller + (values.filter((y) => y === x).length - 1) / 2;
        });
        expect([...averageRanks(values)]).toEqual(naive);
      }),
    );
  });
});

describe("ascendingOrder", () => {
  test("orders equal values by index", () => {
    expect([...ascendingOrder([2, 1, 2, 1])]).toEqual([1, 3, 0, 2]);
  });
});

describe("spearman", () => {
  test("gives the textbook value 1 - 6 sum d^2 / (n (n^2 - 1)) without ties", () => {
    const iq = [106, 100, 86, 101, 99, 103, 97, 113, 112, 110];
    const television = [7, 27, 2, 50, 28, 29, 20, 12, 6, 17];
    expect(spearman(iq, television)).toBeCloseTo(-29 / 165, 12);
  });

  test("lies in [-1, 1], is symmetric, and is 0 for constants", () => {
    fc.assert(
      fc.property(pairs, (rows) => {
        const a = rows.map(([x]) => x);
        const b = rows.map(([, y]) => y);
        const r = spearman(a, b);
        expect(Math.abs(r)).toBeLessThanOrEqual(1);
        expect(spearman(b, a)).toBe(r);
        expect(
          spearman(
            a,
            a.map(() => 4),
          ),
        ).toBe(0);
        expect(spearman([...a].reverse(), [...b].reverse())).toBe(r);
      }),
    );
  });
});

describe("moments and quantiles", () => {
  test("divides by n", () => {
    expect(mean([1, 2, 6])).toBe(3);
    expect(populationDeviation([1, 3])).toBe(1);
    expect(mean([])).toBe(0);
    expect(populationDeviation([])).toBe(0);
  });

  test("interpolates linearly", () => {
    expect([0, 0.25, 0.5, 1].map((p) => quantile([1, 2, 3, 10], p))).toEqual([1, 1.75, 2.5, 10]);
    expect(quantile([4], 0.9)).toBe(4);
  });

  test("gives the median between the ends of values in any order", () => {
    expect(spread([10, 1, 2, 4])).toEqual({ median: 3, min: 1, max: 10 });
    expect(spread([7])).toEqual({ median: 7, min: 7, max: 7 });
  });

  test("finds the first of the largest and of the smallest", () => {
    const items = ["bb", "a", "cc", "d"];
    expect(largestBy(items, ({ length }) => length)).toBe("bb");
    expect(smallestBy(items, ({ length }) => length)).toBe("a");
  });

  test("clamps", () => {
    expect([-2, 0.5, 2].map((x) => clamp(x, 0, 1))).toEqual([0, 0.5, 1]);
  });
});
