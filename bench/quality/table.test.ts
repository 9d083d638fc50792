import { describe, expect, test } from "vitest";
import { contrasts, markdown, type Row } from "./table.ts";

function row(name: `${string} ${string}`, geometricMean: number, more: Partial<Row> = {}): Row {
  const [metric, variant] = name.split(" ") as [string, string];
  const fixed = { sparsity: 0.5, recover: "bias", leftOut: "", achieved: 0.5, seconds: 1 };
  return { ...fixed, metric, variant, geometricMean, ppl: { web: geometricMean }, tasks: {}, ...more };
}

describe("what GPrune changes", () => {
  const rows = [
    row("a single", 500),
    row("a base", 100),
    row("b base", 40),
    row("a gprune", 25),
    row("b gprune", 50),
    row("c base", 1),
    row("a base", 7, { leftOut: "web" }),
    row("a base", 80, { recover: "lstsq", tasks: { t: { acc: 0.1, acc_norm: 0.25 } } }),
    row("a gprune", 20, { recover: "lstsq", tasks: { t: { acc: 0.1, acc_norm: 0.375 } } }),
  ];

  test("is the mean over the metrics that both were measured with", () => {
    const [bias, lstsq, ...rest] = contrasts(rows);
    expect(rest).toEqual([]);
    expect(bias).toMatchObject({ recover: "bias", metrics: ["a", "b"], better: ["a"], points: null });
    expect(bias!.fall).toBeCloseTo((0.75 - 0.25) / 2, 12);
    expect(bias!.spread).toEqual({ base: 2.5, gprune: 2 });
    expect(lstsq).toMatchObject({ metrics: ["a"], fall: 0.75, points: 12.5 });
  });

  test("stands above the rows", () => {
    const [head, rule, first, , empty, rowHead] = markdown(rows).split("\n");
    expect(head).toBe(
      "| removed | recovery | better | perplexity | accuracy | spread alone | spread with GPrune |",
    );
    expect(rule).toBe("| --- | --- | --- | --- | --- | --- | --- |");
    expect(first).toBe("| 0.5 | bias | 1 of 2 | -25.0 % |  | 2.50 | 2.00 |");
    expect(empty).toBe("");
    expect(rowHead).toBe(
      "| removed | recovery | metric | variant | left out | web | geometric mean | t | accuracy | s |",
    );
  });

  test("is left out where there is nothing to compare", () => {
    expect(markdown([row("a base", 3)]).split("\n")).toHaveLength(4);
  });
});
