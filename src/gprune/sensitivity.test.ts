import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { averageRanks, mean, populationDeviation, spearman } from "../tensor/statistics.ts";
import { kendallW, type SetScores, unitSensitivity } from "./sensitivity.ts";

const setScores = (rows: readonly (readonly number[])[]): SetScores =>
  new Map(rows.map((row, d) => [`set${d}`, Float64Array.from(row)]));

/** 1 to 20 sets over 1 to 12 units, few distinct scores so that ties are common. */
const tables = fc
  .tuple(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 12 }))
  .chain(([sets, units]) =>
    fc.array(fc.array(fc.integer({ min: 0, max: 6 }), { minLength: units, maxLength: units }), {
      minLength: sets,
      maxLength: sets,
    }),
  );

/** The textbook's formula on ranks from 1, with tie groups counted one value at a time. */
function naiveW(rows: readonly (readonly number[])[]): number {
  const m = rows.length;
  const n = rows[0]!.length;
  const rankings = rows.map((row) => Array.from(averageRanks(row), (rank) => rank + 1));
  const sums = Array.from({ length: n }, (_, u) => rankings.reduce((sum, ranks) => sum + ranks[u]!, 0));
  const s = sums.reduce((total, sum) => total + (sum - mean(sums)) ** 2, 0);
  let ties = 0;
  for (const row of rows) {
    for (const value of new Set(row)) {
      const t = row.filter((x) => x === value).length;
      ties += t ** 3 - t;
    }
  }
  return (12 * s) / (m ** 2 * (n ** 3 - n) - m * ties);
}

describe("kendallW", () => {
  test("gives R's value for data set `anxiety` of package irr, 0.54 with tie correction", () => {
    const anxiety = [
      [3, 3, 3, 4, 5, 5, 2, 3, 5, 2, 2, 6, 1, 5, 2, 2, 1, 2, 4, 3],
      [3, 6, 4, 6, 2, 4, 2, 4, 3, 3, 2, 3, 3, 3, 2, 2, 1, 3, 3, 4],
      [2, 1, 4, 4, 3, 2, 1, 6, 1, 1, 1, 2, 3, 3, 1, 1, 3, 3, 2, 2],
    ];
    expect(unitSensitivity(setScores(anxiety)).kendallW).toBeCloseTo(0.5397, 4);
  });

  test("equals a naive transcription", () => {
    fc.assert(
      fc.property(tables, (rows) => {
        const expected = naiveW(rows);
        const w = kendallW(rows.map(averageRanks));
        if (Number.isNaN(expected)) expect(w).toBe(1);
        else expect(w).toBeCloseTo(expected, 12);
        expect(w).toBeGreaterThanOrEqual(0);
        expect(w).toBeLessThanOrEqual(1);
      }),
    );
  });

  test("is (1 + Spearman) / 2 for two sets without ties", () => {
    const permutation = fc.shuffledSubarray([0, 1, 2, 3, 4, 5, 6, 7], { minLength: 8 });
    fc.assert(
      fc.property(permutation, permutation, (a, b) => {
        expect(kendallW([a, b].map(averageRanks))).toBeCloseTo((1 + spearman(a, b)) / 2, 12);
      }),
    );
  });

  test.each([
    ["one set", [[3, 1, 2]], 1],
    ["one unit", [[3], [1]], 1],
    [
      "all sets tied",
      [
        [2, 2, 2],
        [5, 5, 5],
      ],
      1,
    ],
    [
      "sets that agree, ties included",
      [
        [1, 1, 2],
        [5, 5, 9],
      ],
      1,
    ],
    [
      "opposite sets",
      [
        [1, 2, 3],
        [3, 2, 1],
      ],
      0,
    ],
    [
      "a set that ranks nothing beside one that does",
      [
        [1, 2, 3],
        [4, 4, 4],
      ],
      0.5,
    ],
  ])("of %s", (_, rows, expected) => {
    expect(kendallW(rows.map(averageRanks))).toBe(expected);
  });
});

describe("unitSensitivity", () => {
  test("scales ranks to 0..1 and takes their mean and deviation", () => {
    const { sets, ranks, meanRank, sigma } = unitSensitivity(
      new Map([
        ["b", Float64Array.of(30, 10, 20)],
        ["a", Float64Array.of(1, 2, 2)],
      ]),
    );
    expect(sets).toEqual(["a", "b"]);
    expect(ranks.map((rho) => [...rho])).toEqual([
      [0, 0.75, 0.75],
      [1, 0, 0.5],
    ]);
    expect([...meanRank]).toEqual([0.5, 0.375, 0.625]);
    expect([...sigma]).toEqual([0.5, 0.375, 0.125]);
  });

  test("gives the same whatever the order of the sets", () => {
    fc.assert(
      fc.property(tables, (rows) => {
        const scores = setScores(rows);
        expect(unitSensitivity(new Map([...scores].reverse()))).toEqual(unitSensitivity(scores));
      }),
    );
  });

  test("permutes with the units", () => {
    fc.assert(
      fc.property(tables, (rows) => {
        const straight = unitSensitivity(setScores(rows));
        const turned = unitSensitivity(setScores(rows.map((row) => [...row].reverse())));
        expect(turned.sigma).toEqual(straight.sigma.toReversed());
        expect(turned.meanRank).toEqual(straight.meanRank.toReversed());
        expect(turned.kendallW).toBe(straight.kendallW);
      }),
    );
  });

  test("depends on ranks only, and is finite", () => {
    fc.assert(
      fc.property(tables, (rows) => {
        const { meanRank, sigma, ranks, ...rest } = unitSensitivity(setScores(rows));
        expect(unitSensitivity(setScores(rows.map((row) => row.map((x) => x ** 3 + 1))))).toEqual({
          meanRank,
          sigma,
          ranks,
          ...rest,
        });
        for (const [u, deviation] of sigma.entries()) {
          const profile = ranks.map((rho) => rho[u]!);
          expect(meanRank[u]).toBeCloseTo(mean(profile), 12);
          expect(deviation).toBeCloseTo(populationDeviation(profile), 12);
          expect(deviation).toBeLessThanOrEqual(0.5);
        }
      }),
    );
  });

  test("of one set or one unit is 0", () => {
    expect([...unitSensitivity(setScores([[1, 2, 3]])).sigma]).toEqual([0, 0, 0]);
    const { meanRank, sigma } = unitSensitivity(setScores([[1], [9]]));
    expect([meanRank[0], sigma[0]]).toEqual([0.5, 0]);
  });

  test("refuses NaN, naming the set, and scores of different lengths", () => {
    const scores = setScores([
      [1, 2],
      [1, Number.NaN],
    ]);
    expect(() => unitSensitivity(scores)).toThrow(
      "scores of set set1: expected finite numbers, got NaN at unit 1",
    );
    expect(() => unitSensitivity(setScores([[1, 2], [1]]))).toThrow("internal: scores of set set1");
    expect(() => unitSensitivity(new Map())).toThrow("internal:");
  });
});
