import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { randomWindows } from "../../test/random_windows.ts";
import { referenceDecoder } from "../../test/reference_decoder.ts";
import { tinyModel } from "../../test/tiny_model.ts";
import type { ProgressEvent } from "../base/progress.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { meanPerplexity, perplexity } from "./perplexity.ts";

let runtime: Runtime;
beforeAll(() => {
  runtime = new Runtime({ threads: 1 });
});
afterAll(() => runtime.close());

describe("meanPerplexity", () => {
  test("is exp of the mean of the losses", () => {
    const scores = [2, 8].map((ppl) => ({ ppl, nll: Math.log(ppl), windows: 1, tokens: 1 }));
    expect(meanPerplexity(scores)).toBeCloseTo(4, 12);
  });
});

describe("perplexity", () => {
  test("is exp of the naive decoder's mean loss over all predictions", async () => {
    const model = tinyModel({ tiedEmbeddings: false });
    const windows = randomWindows([9, 9, 9, 4, 2]);
    const reference = await referenceDecoder(model);
    const total = windows.reduce((sum, window) => sum + reference(window).loss * (window.length - 1), 0);
    const score = await perplexity(new DecoderRunner(model, runtime), windows);
    expect(score).toMatchObject({ windows: 5, tokens: 3 * 8 + 3 + 1 });
    expect(score.nll).toBeCloseTo(total / score.tokens, 5);
    expect(score.ppl).toBe(Math.exp(score.nll));
  });

  test("is the size of the vocabulary when all words are equally probable", async () => {
    const model = tinyModel();
    const silent = { ...model, weights: { ...model.weights, read: zeroed(model.weights.read) } };
    const { ppl } = await perplexity(new DecoderRunner(silent, runtime), randomWindows([9, 9]));
    expect(ppl).toBeCloseTo(16, 4);
  });

  test.each([
    [[], "no windows"],
    [[9, 1], "a window of 1"],
  ])("refuses windows of %j tokens, which predict nothing", async (lengths, got) => {
    const act = perplexity(new DecoderRunner(tinyModel(), runtime), randomWindows(lengths));
    const message = `windows: expected windows of at least two tokens, got ${got}`;
    await expect(act).rejects.toMatchObject({ code: "BAD_TEXT", message });
  });

  test("does not depend on the order of the windows", async () => {
    const runner = new DecoderRunner(tinyModel(), runtime);
    const windows = randomWindows([6, 6, 6, 6]);
    const forwards = await perplexity(runner, windows);
    const backwards = await perplexity(runner, windows.toReversed());
    expect(backwards.nll).toBeCloseTo(forwards.nll, 6);
  });

  test("counts every token once for progress", async () => {
    const runner = new DecoderRunner(tinyModel(), runtime);
    const events: ProgressEvent[] = [];
    await perplexity(runner, randomWindows([600, 600]), {
      stage: "dense",
      onProgress: (event) => events.push(event),
    });
    expect(events.map(({ done }) => done)).toEqual([300, 600, 900, 1200]);
    expect(events.at(-1)).toMatchObject({ stage: "dense", total: 1200, unit: "tokens" });
  });
});

type Read = ReturnType<typeof tinyModel>["weights"]["read"];

/** Tensors with all elements zero. */
function zeroed(read: Read): Read {
  return async (name, rows) => {
    const { shape, data } = await read(name, rows);
    return { shape, data: new Float32Array(data.length) };
  };
}
