import { describe, expect, test } from "vitest";
import { tinyModel } from "../../test/tiny_model.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { spacesOf } from "../model/spaces.ts";
import { gateGradients } from "./gate_gradients.ts";
import { type GateStats, gateStatistics, mergeGateStats, poolGateStats } from "./gate_stats.ts";

const model = tinyModel({ seed: 5, layers: [{}, { neurons: 4, kvGroups: 1 }] });
const runner = new DecoderRunner(model, new Runtime({ threads: 1 }));
const windows = [0, 1, 2, 3].map((w) => Int32Array.from({ length: 6 }, (_, t) => (3 * w + 5 * t) % 16));

describe("gateStatistics", () => {
  test("squares the sum over a unit's channels, window by window", async () => {
    const stats = (await gateStatistics(runner, [{ name: "a", windows }])).get("a")!;
    const gradients = await gateGradients(runner, windows);
    expect(stats.windows).toBe(4);
    expect(stats.loss).toBeCloseTo(
      gradients.reduce((sum, { loss }) => sum + loss, 0),
      10,
    );
    for (const { id, units, unitChannels } of spacesOf(model.spec)) {
      for (let u = 0; u < units; u++) {
        const sums = gradients.map(({ gates }) =>
          gates
            .get(id)!
            .subarray(u * unitChannels, (u + 1) * unitChannels)
            .reduce((sum, g) => sum + g, 0),
        );
        const squares = sums.reduce((sum, g) => sum + g * g, 0);
        expect(stats.spaces.get(id)!.squares[u]! / squares).toBeCloseTo(1, 4);
        const absolute = sums.reduce((sum, g) => sum + Math.abs(g), 0);
        expect(stats.spaces.get(id)!.absolute[u]! / absolute).toBeCloseTo(1, 4);
      }
    }
  });

  test("merges halves to the whole, and sets do not influence one another", async () => {
    const sets = [
      { name: "first", windows: windows.slice(0, 2) },
      { name: "second", windows: windows.slice(2) },
    ];
    const parts = await gateStatistics(runner, sets);
    const whole = (await gateStatistics(runner, [{ name: "all", windows }])).get("all")!;
    const merged = mergeGateStats(parts.get("first")!, parts.get("second")!);
    expect(merged.windows).toBe(whole.windows);
    expect(merged.loss).toBeCloseTo(whole.loss, 6);
    for (const [id, stats] of whole.spaces) {
      for (const key of ["squares", "absolute"] as const) {
        for (const [u, value] of stats[key].entries()) {
          expect(merged.spaces.get(id)![key][u]! / value).toBeCloseTo(1, 4);
        }
      }
    }
    const [second] = (await gateStatistics(runner, sets.slice(1))).values();
    expect(second).toEqual(parts.get("second"));
  });
});

describe("damped statistics", () => {
  test("count every window by the root of its sum, so that their total is the sum of the roots", async () => {
    const totalOf = async (window: Int32Array, damped: boolean): Promise<number> => {
      const [stats] = (await gateStatistics(runner, [{ name: "a", windows: [window] }], { damped })).values();
      return [...stats!.spaces.values()].reduce(
        (sum, { squares }) => squares.reduce((a, b) => a + b, sum),
        0,
      );
    };
    let roots = 0;
    for (const window of windows) {
      const root = Math.sqrt(await totalOf(window, false));
      expect((await totalOf(window, true)) / root).toBeCloseTo(1, 6);
      roots += root;
    }
    const [all] = (await gateStatistics(runner, [{ name: "a", windows }], { damped: true })).values();
    const total = [...all!.spaces.values()].reduce(
      (sum, { squares }) => squares.reduce((a, b) => a + b, sum),
      0,
    );
    expect(total / roots).toBeCloseTo(1, 4);
  });
});

describe("poolGateStats", () => {
  test("counts sets by weight and not by the size of their gradients", async () => {
    const [a, b] = [windows.slice(0, 2), windows.slice(2)].map((part, i) => ({
      name: `${i}`,
      windows: part,
    }));
    const stats = [...(await gateStatistics(runner, [a!, b!])).values()];
    const large = {
      ...stats[1]!,
      spaces: new Map(
        Array.from(stats[1]!.spaces, ([id, { absolute, squares }]) => [
          id,
          { absolute, squares: squares.map((value) => value * 1000) },
        ]),
      ),
    };
    const pooled = poolGateStats(stats, [1, 3]);
    const again = poolGateStats([stats[0]!, large], [1, 3]);
    let sum = 0;
    for (const [id, { squares }] of pooled.spaces) {
      for (const [u, value] of squares.entries()) {
        sum += value;
        expect(again.spaces.get(id)!.squares[u]).toBeCloseTo(value, 12);
      }
    }
    expect(sum).toBeCloseTo(1, 12);
  });

  /** Statistics with these squares, half of them in each of two spaces. */
  const statsOf = (
    squares: readonly number[],
    { windows, loss }: { windows: number; loss: number },
  ): GateStats => {
    const half = squares.length / 2;
    const spaces = [squares.slice(0, half), squares.slice(half)].map((values, index) => {
      const absolute = Float64Array.from(values, Math.sqrt);
      return [`${index}`, { absolute, squares: Float64Array.from(values) }] as const;
    });
    return { windows, loss, spaces: new Map(spaces) };
  };

  test("is the mean of normalised sets and of losses per window, and a set of zeros adds nothing", () => {
    const first = statsOf([1, 0, 4, 9], { windows: 2, loss: 8 });
    const second = statsOf([4, 4, 0, 16], { windows: 5, loss: 5 });
    const { windows, loss, spaces } = poolGateStats([first, second], [2, 6]);
    expect([windows, loss]).toEqual([1, (4 + 3 * 1) / 4]);
    const of = (key: "absolute" | "squares") => [...spaces.values()].flatMap((space) => [...space[key]]);
    for (const [u, value] of [1, 0, 4, 9].entries()) {
      const other = [4, 4, 0, 16][u]!;
      expect(of("squares")[u]).toBeCloseTo((value / 14 + (3 * other) / 24) / 4, 12);
      expect(of("absolute")[u]).toBeCloseTo((Math.sqrt(value) / 6 + (3 * Math.sqrt(other)) / 8) / 4, 12);
    }
    const zeros = statsOf([0, 0, 0, 0], { windows: 1, loss: 0 });
    const half = poolGateStats([first, zeros], [1, 1]).spaces.get("1")!.squares;
    for (const [u, value] of [4, 9].entries()) expect(half[u]).toBeCloseTo(value / 28, 12);
  });

  test("refuses no sets, weights that are none, and statistics of different models", () => {
    const own = statsOf([1, 2], { windows: 1, loss: 1 });
    const wider = statsOf([1, 2, 3, 4], { windows: 1, loss: 1 });
    const other = { ...own, spaces: new Map([["2", own.spaces.get("0")!]]) };
    expect(() => poolGateStats([], [])).toThrow("gate statistics");
    for (const weights of [[1], [1, 0], [1, -1], [1, Number.NaN]]) {
      expect(() => poolGateStats([own, own], weights)).toThrow("weight");
    }
    expect(() => poolGateStats([own, wider], [1, 1])).toThrow(
      "gate statistics of 0: expected those of one model, got 1 and 2 units",
    );
    expect(() => mergeGateStats(own, other)).toThrow(
      "gate statistics of 0: expected those of one model, got none in some",
    );
  });
});
