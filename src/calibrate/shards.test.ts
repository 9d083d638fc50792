import fc from "fast-check";
import { expect, test } from "vitest";
import { tinyModel } from "../../test/tiny_model.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { microBatches } from "../graph/decoder/forward.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { type CalibrationState, calibrate } from "./calibrate.ts";
import { SHARD_TOKENS, shardsOf } from "./shards.ts";
import { mergeStats } from "./stats.ts";

const windowsOf = (lengths: readonly number[]): readonly Int32Array[] =>
  lengths.map((length, w) => Int32Array.from({ length }, (_, t) => (7 * w + 3 * t) % 11));

test("shards are the windows in order, in the same micro-batches, and no longer than they may be", () => {
  const lengths = fc.array(fc.oneof(fc.constant(512), fc.integer({ min: 1, max: 1500 })), { maxLength: 12 });
  fc.assert(
    fc.property(lengths, fc.integer({ min: 1, max: 5000 }), (of, most) => {
      const windows = windowsOf(of);
      const shards = shardsOf(windows, most);
      expect(shards.flat()).toEqual(windows);
      expect(shards.flatMap((shard) => microBatches(shard))).toEqual(microBatches(windows));
      for (const shard of shards) {
        const tokens = shard.reduce((sum, { length }) => sum + length, 0);
        expect(tokens <= most || microBatches(shard).length === 1).toBe(true);
      }
    }),
  );
});

test("a set of several shards has the sums of its shards, bit by bit, and layers may be taken in parts", async () => {
  const runtime = new Runtime({ threads: 1 });
  const model = tinyModel({ vocabSize: 11, hiddenSize: 8, layers: [{ neurons: 12 }, { neurons: 8 }] });
  const runner = new DecoderRunner(model, runtime);
  const windows = windowsOf(Array.from({ length: 19 }, () => 500));
  const shards = shardsOf(windows);
  expect(shards.map((shard) => shard.length * 500)).toEqual([4000, 4000, 1500]);
  expect(SHARD_TOKENS).toBeGreaterThanOrEqual(4000);
  const whole = await calibrate(runner, [{ name: "set", windows }]);
  const parts = await calibrate(
    runner,
    shards.map((shard, index) => ({ name: `${index}`, windows: shard })),
  );
  expect([...parts.values()].reduce(mergeStats)).toEqual(whole.get("set"));

  let between: CalibrationState | undefined;
  const sets = [{ name: "set", windows }];
  const first = await calibrate(runner, sets, {
    end: 1,
    checkpoints: {
      restore: async () => undefined,
      reached: async (state) => {
        between = state();
      },
    },
  });
  const rest = { restore: async () => ({ ...between!, stats: new Map() }), reached: async () => {} };
  const second = await calibrate(runner, sets, { checkpoints: rest });
  const spaces = [first, second].flatMap((stats) => [...stats.get("set")!.spaces]);
  expect(new Map(spaces)).toEqual(whole.get("set")!.spaces);
  await runtime.close();
});
