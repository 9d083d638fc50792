import { describe, expect, test } from "vitest";
import { type CountEvidence, chosenCount } from "./module_count.ts";

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
