import { describe, expect, test } from "vitest";
import { randomStream } from "../tensor/random.ts";
import { averageRanks } from "../tensor/statistics.ts";
import { behaviourPoints } from "./behaviour.ts";
import { type CountEvidence, chooseModules, chosenCount } from "./module_count.ts";

const evidence = (...rows: readonly (readonly [excess: number, spread: number])[]): CountEvidence[] =>
  rows.map(([excess, spread], index) => ({ k: index + 1, explained: 0, expected: 0, excess, spread }));

describe("chosenCount", () => {
  test.each([
    ["no excess", evidence([0, 0], [-0.1, 0.01], [-0.2, 0.01]), 1],
    ["an excess that is small", evidence([0, 0], [0.09, 0.001]), 1],
    ["an excess within its spread", evidence([0, 0], [0.3, 0.16]), 1],
    ["an excess that is clear", evidence([0, 0], [0.3, 0.05]), 2],
    ["an excess that shows only at three", evidence([0, 0], [-0.05, 0.01], [0.4, 0.02]), 3],
    ["more modules that add little", evidence([0, 0], [0.3, 0.01], [0.35, 0.01], [0.39, 0.01]), 2],
    ["one module at most", evidence([0, 0]), 1],
  ])("of %s", (_, rows, expected) => {
    expect(chosenCount(rows)).toBe(expected);
  });
});

describe("chooseModules", () => {
  const UNITS = 400;

  /** Evidence on units whose scores on every set come from their own few random numbers. */
  function evidenceOf(
    scores: (random: () => number) => readonly number[],
    sets: number,
  ): readonly CountEvidence[] {
    const random = randomStream(2, "units");
    const units = Array.from({ length: UNITS }, () => scores(random));
    const ranks = Array.from({ length: sets }, (_, d) =>
      averageRanks(units.map((unit) => unit[d]!)).map((rank) => rank / (UNITS - 1)),
    );
    const options = { behaviour: behaviourPoints(ranks), maxModules: 4, random: randomStream(0, "modules") };
    return chooseModules(ranks, options).evidence;
  }

  const normal = (random: () => number): number =>
    Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());

  test.each<[string, number, (random: () => number) => readonly number[]]>([
    ["two sets that have nothing in common", 2, (random) => [normal(random), normal(random)]],
    [
      "three sets that have one thing in common",
      3,
      (random) => {
        const common = normal(random);
        return [0, 1, 2].map(() => common + normal(random));
      },
    ],
    [
      "three sets of which two contradict the third",
      3,
      (random) => {
        const common = normal(random);
        return [common, common, -common].map((value) => value + normal(random));
      },
    ],
    [
      "three sets that contradict each other more than Gaussian variables can",
      3,
      (random) => {
        const values = [random(), random(), random()];
        return values.map((value) => value - (values[0]! + values[1]! + values[2]!) / 3);
      },
    ],
  ])("explains as much as it expects of %s", (_, sets, scores) => {
    for (const { explained, expected, excess } of evidenceOf(scores, sets)) {
      expect(Math.abs(explained - expected)).toBeLessThan(0.04);
      expect(Math.log((1 - expected) / (1 - explained))).toBeCloseTo(excess, 10);
    }
  });
});
