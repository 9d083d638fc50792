import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type TinyModelOptions,
  tinyConvolution,
  tinyDelta,
  tinyMamba,
  tinyMamba2,
  tinyModel,
} from "../../test/tiny_model.ts";
import type { ProgressEvent } from "../base/progress.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { compareModels } from "./compare.ts";
import { measureLatency } from "./latency.ts";

let runtime: Runtime;
beforeAll(() => {
  runtime = new Runtime({ threads: 1 });
});
afterAll(() => runtime.close());

const OPTIONS = { batch: 2, promptTokens: 6, newTokens: 3, repeats: 3 };

describe("measureLatency", () => {
  test("measures models in turns, with spreads, and the later ones over the first", async () => {
    const models = [tinyModel({ layers: [{}, {}] }), tinyModel({ layers: [{ kvGroups: 1 }, {}] })];
    const events: ProgressEvent[] = [];
    const onProgress = (event: ProgressEvent): number => events.push(event);
    const start = performance.now();
    const [first, second] = await measureLatency({ models, runtime }, { ...OPTIONS, onProgress });
    const seconds = (performance.now() - start) / 1000;
    expect(events.map(({ stage }) => stage)).toEqual([...Array(2).fill("memory"), ...Array(8).fill("speed")]);
    expect(first).not.toHaveProperty("over_first");
    for (const { prompt, decoding, first_token: wait } of [first!, second!]) {
      for (const { min, median, max } of [prompt, decoding, wait]) {
        expect(min).toBeGreaterThan(0);
        expect(median).toBeGreaterThanOrEqual(min);
        expect(max).toBeGreaterThanOrEqual(median);
      }
      expect(prompt.max * wait.min).toBeCloseTo(12, 6);
      // What is measured takes no longer than the measuring.
      expect(wait.max + (2 * 3) / decoding.min).toBeLessThan(seconds);
    }
    const ratio = second!.over_first!.decoding;
    expect(ratio.min).toBeGreaterThanOrEqual((second!.decoding.min / first!.decoding.max) * (1 - 1e-9));
    expect(ratio.max).toBeLessThanOrEqual((second!.decoding.max / first!.decoding.min) * (1 + 1e-9));
  });

  test("counts weights in float32 and the cache of all sequences", async () => {
    const model = tinyModel({ layers: [{ kvGroups: 2 }, { kvGroups: 1 }] });
    const [{ memory }] = (await measureLatency({ models: [model], runtime }, { ...OPTIONS, repeats: 1 })) as [
      Awaited<ReturnType<typeof measureLatency>>[number],
    ];
    const keysAndValues = 2 * (2 + 1) * model.spec.headDim * (6 + 3) * 2;
    expect(memory.cache).toBe(4 * keysAndValues);
    expect(memory.weights).toBeGreaterThan(4 * model.spec.vocabSize * model.spec.hiddenSize);
  });

  test("counts the states of convolutions, which do not grow", async () => {
    const model = tinyModel({ layers: [tinyConvolution({ length: 3, biases: false }), {}] });
    const [{ memory }] = (await measureLatency({ models: [model], runtime }, { ...OPTIONS, repeats: 1 })) as [
      Awaited<ReturnType<typeof measureLatency>>[number],
    ];
    const { headDim, hiddenSize } = model.spec;
    expect(memory.cache).toBe(4 * 2 * (2 * 2 * headDim * (6 + 3) + 2 * hiddenSize));
  });

  const sizes = { length: 4, keyHeads: 1, valueHeads: 3, keyDim: 5, valueDim: 7 };
  test.each<[string, TinyModelOptions["layers"]]>([
    ["delta rules", [tinyDelta(sizes), {}]],
    ["Mamba 2", [tinyMamba(sizes), {}]],
    ["Mamba 2 beside attention", [{ beside: tinyMamba2(sizes) }]],
  ])("counts the states of %s and of its filters, which do not grow", async (_, layers = []) => {
    const model = tinyModel({ layers });
    const [{ memory }] = (await measureLatency({ models: [model], runtime }, { ...OPTIONS, repeats: 1 })) as [
      Awaited<ReturnType<typeof measureLatency>>[number],
    ];
    const states = 3 * 5 * 7 + 3 * (2 * 5 + 3 * 7);
    expect(memory.cache).toBe(4 * 2 * (2 * 2 * model.spec.headDim * (6 + 3) + states));
  });

  test("refuses more tokens than a model holds", async () => {
    const model = tinyModel();
    const promptTokens = model.spec.maxPositions;
    await expect(
      measureLatency({ models: [model], runtime }, { ...OPTIONS, promptTokens }),
    ).rejects.toMatchObject({
      code: "BAD_ARGUMENT",
      message: expect.stringContaining(`expected at most ${promptTokens} tokens, got ${promptTokens + 3}`),
    });
    for (const name of ["batch", "promptTokens", "newTokens", "repeats"]) {
      const act = measureLatency({ models: [model], runtime }, { ...OPTIONS, [name]: 0 });
      await expect(act).rejects.toThrow(`${name}: expected`);
    }
    const unread = [{ name: "a", path: "no such text", weight: 1 }];
    await expect(
      compareModels({ models: [model], runtime }, unread, { speed: { ...OPTIONS, promptTokens } }),
    ).rejects.toThrow(`expected at most ${promptTokens} tokens`);
  });
});
