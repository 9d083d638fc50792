import { describe, expect, test } from "vitest";
import { tinyModel } from "../../test/tiny_model.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { spacesOf } from "../model/spaces.ts";
import { gateGradients } from "./gate_gradients.ts";
import { gateStatistics, mergeGateStats, poolGateStats } from "./gate_stats.ts";

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
    for (const [id, { squares }] of whole.spaces) {
      for (const [u, value] of squares.entries()) {
        expect(merged.spaces.get(id)!.squares[u]! / value).toBeCloseTo(1, 4);
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
});
