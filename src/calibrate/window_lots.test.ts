import { afterAll, describe, expect, test } from "vitest";
import { randomWindows } from "../../test/random_windows.ts";
import { tinyModel } from "../../test/tiny_model.ts";
import type { ProgressEvent } from "../base/progress.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { ROOMY } from "../graph/runtime/memory_policy.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { type GateStatsState, gateStatistics } from "./gate_stats.ts";

/** Lots of one micro-batch. */
const small = new Runtime({ threads: 1, memory: { ...ROOMY, lotBytes: 1 } });
afterAll(() => small.close());
const runner = new DecoderRunner(tinyModel({ seed: 2 }), small);

/** Two micro-batches each, of 3 * 8 and 2 * 5, and of 8 and 6 tokens. */
const SETS = [
  { name: "a", windows: randomWindows([8, 8, 8, 5, 5], { seed: 1 }) },
  { name: "b", windows: randomWindows([8, 6], { seed: 2 }) },
];
const TOKENS = 24 + 10 + 8 + 6;

/** Statistics, the events, and a copy of the state after every lot. */
async function observed(from?: GateStatsState) {
  const events: ProgressEvent[] = [];
  const states: GateStatsState[] = [];
  const stats = await gateStatistics(runner, SETS, {
    onProgress: (event) => events.push(event),
    checkpoints: {
      restore: async () => from,
      reached: async (state) => {
        states.push(structuredClone(state()));
      },
    },
  });
  return { stats, events, states };
}

describe("sums of windows in lots", () => {
  test("count every token forward and backward, and end with the losses", async () => {
    const { stats, events } = await observed();
    expect(events.every(({ total, unit }) => total === 2 * TOKENS && unit === "tokens")).toBe(true);
    const done = events.map((event) => event.done);
    expect(done).toEqual(done.toSorted((a, b) => a - b));
    // The end of each lot but the last, and the end.
    expect(done).toEqual(expect.arrayContaining([2 * 24, 2 * 34, 2 * 42]));
    expect(done.filter((count) => count === 2 * TOKENS)).toHaveLength(1);
    const losses = Array.from(stats, ([name, { loss, windows }]) => ({ name, value: loss / windows }));
    expect(losses.map(({ name }) => name)).toEqual(["a", "b"]);
    const [a, b] = losses.map(({ value }) => value.toFixed(2));
    expect(events.at(-1)).toMatchObject({ values: losses, detail: `loss a ${a}, b ${b}` });
  });

  test("go on after any lot with the same sums, and with the progress there was", async () => {
    const whole = await observed();
    expect(whole.states.map(({ sets }) => [...sets.values()].map(({ windows }) => windows))).toEqual([
      ...[
        [3, 0],
        [5, 0],
        [5, 1],
      ],
      [5, 2],
    ]);
    for (const [index, state] of whole.states.entries()) {
      const rest = await observed(structuredClone(state));
      expect(rest.stats).toEqual(whole.stats);
      expect(rest.states).toEqual(whole.states.slice(index + 1));
      expect(rest.events).toEqual(whole.events.slice(-rest.events.length));
    }
  });

  test("refuse two sets of one name", async () => {
    const twice = [SETS[0]!, { ...SETS[1]!, name: "a" }];
    await expect(gateStatistics(runner, twice)).rejects.toThrow("calibration sets");
  });
});
