import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { linearScale, linearTicks, logScale, logTicks, type Span, spanOf } from "./axes.ts";

describe("ticks", () => {
  test.each([
    [0.82 / 1.04, 1.08, [0.8, 0.85, 0.9, 0.95, 1, 1.05]],
    [3800, 48_000, [5000, 10_000, 20_000]],
    [2700, 203_000, [3000, 10_000, 30_000, 100_000]],
    [0.5, 2e6, [1, 100, 10_000, 1_000_000]],
    [0.9, 1.2e12, [1, 1e3, 1e6, 1e9, 1e12]],
  ])("of a logarithmic axis from %d to %d", (min, max, ticks) => {
    expect(logTicks({ min, max })).toEqual(ticks);
  });

  test.each([
    [0, 0.06, [0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06]],
    [-0.1, 0.1, [-0.1, -0.05, 0, 0.05, 0.1]],
  ])("of a linear axis from %d to %d", (min, max, ticks) => {
    expect(linearTicks({ min, max })).toEqual(ticks);
  });

  const spans = fc
    .tuple(fc.double({ min: 1e-3, max: 1e9, noNaN: true }), fc.double({ min: 1.02, max: 1e6, noNaN: true }))
    .map(([min, times]) => ({ min, max: min * times }));

  test("are at least two and at most seven, inside, and rise", () => {
    fc.assert(
      fc.property(spans, fc.constantFrom(logTicks, linearTicks), (span, ticksOf) => {
        const ticks = ticksOf(span);
        expect(ticks.length).toBeGreaterThanOrEqual(2);
        expect(ticks.length).toBeLessThanOrEqual(7);
        expect(ticks.every((tick) => tick >= span.min * (1 - 1e-6) && tick <= span.max * (1 + 1e-6))).toBe(
          true,
        );
        expect(ticks.every((tick, index) => index === 0 || tick > ticks[index - 1]!)).toBe(true);
      }),
    );
  });

  const labelsOf = (scaleOf: typeof linearScale, span: Span): readonly string[] => {
    const { values, labelExpr } = (scaleOf(span) as { axis: { values: number[]; labelExpr: string } }).axis;
    const decimals = Number(/,\.(\d+)~f/.exec(labelExpr)![1]);
    return values.map((value) =>
      value >= 1e9
        ? Number(value.toPrecision(7)).toExponential()
        : value.toLocaleString("en", { maximumFractionDigits: decimals }),
    );
  };

  test("have labels that differ", () => {
    fc.assert(
      fc.property(spans, fc.constantFrom(logScale, linearScale), (span, scaleOf) => {
        const labels = labelsOf(scaleOf, span);
        expect(new Set(labels).size).toBe(labels.length);
      }),
    );
    expect(labelsOf(linearScale, { min: 2.314152, max: 2.314158 })[0]).toMatch(/^2\.31415\d$/);
    expect(new Set(labelsOf(linearScale, { min: 3.0000001, max: 3.0000002 })).size).toBeGreaterThan(1);
  });

  test("are drawn where values reach what no scale does", () => {
    for (const span of [
      { min: 0, max: 0 },
      { min: 0, max: 1.9 },
      { min: 3, max: Number.POSITIVE_INFINITY },
    ]) {
      expect(labelsOf(logScale, span).length).toBeLessThan(8);
    }
  });

  test("have room where all values are equal, but for rounding", () => {
    const { min, max } = spanOf([12, 12.000000000000002], 0.1);
    expect(linearTicks({ min, max }).length).toBeGreaterThan(1);

    expect(spanOf([0, 0], 0.1)).toEqual({ min: -0.1, max: 0.1 });
    expect(spanOf([2, 2], 0.1)).toEqual({ min: 1.8, max: 2.2 });
  });
});
