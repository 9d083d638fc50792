import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { randomWindows } from "../../test/random_windows.ts";
import { referenceDecoder } from "../../test/reference_decoder.ts";
import { expectSameStats } from "../../test/stats_equality.ts";
import { tinyModel } from "../../test/tiny_model.ts";
import { statsOfActivations } from "../../test/tiny_stats.ts";
import { TINY_VARIANTS } from "../../test/tiny_variants.ts";
import type { ProgressEvent } from "../base/progress.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { ROOMY } from "../graph/runtime/memory_policy.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { SpillFile } from "../io/files/spill_file.ts";
import type { Stash } from "../tensor/stash.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { calibrate } from "./calibrate.ts";
import { type CalibrationStats, mergeStats } from "./stats.ts";

let runtime: Runtime;
beforeAll(() => {
  runtime = new Runtime({ threads: 1 });
});
afterAll(() => runtime.close());

/** Statistics of one set called `x`. */
async function statsOf(runner: DecoderRunner, windows: readonly Int32Array[]): Promise<CalibrationStats> {
  return (await calibrate(runner, [{ name: "x", windows }])).get("x")!;
}

describe("calibrate", () => {
  test.each(Object.entries(TINY_VARIANTS))(
    "sums what enters the output projections: %s",
    async (_, options) => {
      const model = tinyModel(options);
      const windows = randomWindows([9, 9, 9, 5]);
      const reference = await referenceDecoder(model);
      const runs = windows.map((window) => reference(window).taps);
      const ids = [...runs[0]!.keys()];
      const activations = new Map(
        ids.map(
          (id) => [id, runs.map((taps) => taps.get(id)!.map((row) => Float32Array.from(row)))] as const,
        ),
      );
      const stats = await statsOf(new DecoderRunner(model, runtime), windows);
      expectSameStats(stats, statsOfActivations(activations), 1e-5);
    },
  );

  test("gives the merged statistics of two halves of a set", async () => {
    const runner = new DecoderRunner(tinyModel({ seed: 3 }), runtime);
    const windows = randomWindows([8, 8, 6, 8, 4], { seed: 3 });
    const merged = mergeStats(
      await statsOf(runner, windows.slice(0, 2)),
      await statsOf(runner, windows.slice(2)),
    );
    expectSameStats(await statsOf(runner, windows), merged, 1e-12);
  });

  test("gives a set the same bits whatever other sets there are", async () => {
    const runner = new DecoderRunner(tinyModel(), runtime);
    const a = { name: "a", windows: randomWindows([8, 8, 8], { seed: 1 }) };
    const b = { name: "b", windows: randomWindows([8, 5], { seed: 2 }) };
    const alone = (await calibrate(runner, [a])).get("a");
    expect((await calibrate(runner, [a, b])).get("a")).toEqual(alone);
    expect((await calibrate(runner, [b, a])).get("a")).toEqual(alone);
  });

  test("gives the same bits with one and two threads, and every time", async () => {
    const two = new Runtime({ threads: 2 });
    try {
      const windows = randomWindows([8, 8, 8]);
      const first = await statsOf(new DecoderRunner(tinyModel(), two), windows);
      expect(await statsOf(new DecoderRunner(tinyModel(), two), windows)).toEqual(first);
      expect(await statsOf(new DecoderRunner(tinyModel(), runtime), windows)).toEqual(first);
    } finally {
      await two.close();
    }
  });

  test("counts tokens and sequences, and says how far it is", async () => {
    const runner = new DecoderRunner(tinyModel(), runtime);
    const events: ProgressEvent[] = [];
    const sets = [
      { name: "long", windows: randomWindows([8, 8]) },
      { name: "short", windows: randomWindows([4]) },
    ];
    const stats = await calibrate(runner, sets, { onProgress: (event) => events.push(event) });
    expect(stats.get("long")).toMatchObject({ tokens: 16, sequences: 2 });
    expect(stats.get("short")).toMatchObject({ tokens: 4, sequences: 1 });
    expect(events.map(({ done }) => done)).toEqual([8, 10, 18, 20]);
    expect(events.at(-1)).toEqual({
      stage: "calibrate",
      done: 20,
      total: 20,
      unit: "tokens",
      detail: "layer 2/2",
    });
  });

  test("names set and space when squares of finite activations overflow", async () => {
    const { weights, ...model } = tinyModel();
    const read = async (...args: Parameters<typeof weights.read>): Promise<Tensor> => {
      const { shape, data } = await weights.read(...args);
      const factor = args[0] === "model.layers.1.mlp.up_proj.weight" ? 1e25 : 1;
      return { shape, data: data.map((value) => factor * value) };
    };
    const runner = new DecoderRunner({ ...model, weights: { ...weights, read } }, runtime);
    await expect(statsOf(runner, randomWindows([8]))).rejects.toMatchObject({
      code: "NOT_FINITE",
      message: "statistics of layers.1.ffn: expected finite sums, got NaN or infinity, on calibration set x",
    });
  });

  test("gives the same sums when hidden states are in a file, also as they widen and narrow", async () => {
    const model = tinyModel(TINY_VARIANTS["as Gemma 4"]);
    const windows = randomWindows([9, 9, 5]);
    const expected = await statsOf(new DecoderRunner(model, runtime), windows);
    const directory = await temporaryDirectory();
    const openStash = (name: string): Promise<Stash> => SpillFile.create(join(directory, name));
    const memory = { ...ROOMY, spillHidden: true, scratch: { openStash } };
    const spilling = new Runtime({ threads: 1, memory });
    const found = await statsOf(new DecoderRunner(model, spilling), windows);
    await spilling.close();
    expectSameStats(found, expected, 0);
  });

  test("refuses windows without owners where others have some", async () => {
    const runner = new DecoderRunner(tinyModel(), runtime);
    const set = { name: "x", windows: randomWindows([4, 4]), owners: ["x"] };
    await expect(calibrate(runner, [set])).rejects.toMatchObject({ code: "BAD_ARGUMENT" });
  });

  test("refuses two sets of one name", async () => {
    const runner = new DecoderRunner(tinyModel(), runtime);
    const sets = [1, 2].map((seed) => ({ name: "x", windows: randomWindows([4], { seed }) }));
    await expect(calibrate(runner, sets)).rejects.toThrow(
      "calibration sets: expected different names, got x twice",
    );
  });
});
