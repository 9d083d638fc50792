import { describe, expect, test } from "vitest";
import { randomWindows } from "../../test/random_windows.ts";
import { halvesOf, measuredSets } from "./measured_sets.ts";

const windows = randomWindows([8, 8, 8, 8]);
const copies = windows.map((window) => window.slice());

describe("measuredSets", () => {
  test("measures halves of the calibrated windows, and moments of the fitted ones by weight and token", () => {
    const other = { name: "b", weight: 3, windows: randomWindows([5, 5], { seed: 1 }) };
    const sets = measuredSets(
      [{ name: "a", windows: windows.slice(0, 3) }],
      [{ name: "a", weight: 1, windows: copies }, other],
    );
    expect(sets).toEqual([
      {
        name: "a",
        windows: copies,
        owners: ["a/1", "a/2", "a/1", null],
        moments: { windows: 4, tokenWeight: 1 / 4 / 32 },
      },
      {
        name: "b",
        windows: other.windows,
        owners: [null, null],
        moments: { windows: 2, tokenWeight: 3 / 4 / 10 },
      },
    ]);
    const fewer = { name: "a", weight: 1, windows: copies.slice(0, 2) };
    expect(measuredSets([{ name: "a", windows }], [fewer])).toEqual([
      {
        name: "a",
        windows,
        owners: ["a/1", "a/2", "a/1", "a/2"],
        moments: { windows: 2, tokenWeight: 1 / 16 },
      },
    ]);
    expect(halvesOf({ name: "a", windows: windows.slice(0, 1) }).map(({ name }) => name)).toEqual(["a/1"]);
  });

  test("refuses windows of which one list does not begin as the other, and sets that do not count", () => {
    const set = { name: "a", weight: 1, windows };
    const changed = copies.map((window, index) =>
      index === 1 ? window.map((id, t) => (t === 7 ? id + 1 : id)) : window,
    );
    const shorter = copies.map((window, index) => (index === 2 ? window.subarray(0, 7) : window));
    const message = (place: number): string =>
      `windows of calibration set a: expected the same windows for statistics and for least squares, got different ones from window ${place} on`;
    expect(() => measuredSets([set], [{ ...set, windows: changed }])).toThrow(message(2));
    expect(() => measuredSets([set], [{ ...set, windows: shorter }])).toThrow(message(3));
    expect(() => measuredSets([{ ...set, windows: shorter }], [set])).toThrow(message(3));
    expect(() => measuredSets([], [{ ...set, windows: [] }])).toThrow(
      "calibration set a: expected at least one token",
    );
    expect(() => measuredSets([], [{ ...set, weight: 0 }])).toThrow("weight of calibration set a");
    expect(() => measuredSets([set, set], [])).toThrow("calibration sets");
  });
});
