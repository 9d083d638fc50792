import { describe, expect, onTestFinished, test, vi } from "vitest";
import { CountingRuntime } from "../../test/counting_runtime.ts";
import { letterModel } from "../../test/letter_model.ts";
import { randomWindows } from "../../test/random_windows.ts";
import { silent } from "../base/progress.ts";
import { lossGradients } from "../graph/decoder/backward.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { nextTokenLoss } from "../graph/decoder/loss.ts";
import { Tokenizer } from "../model/tokenizer/tokenizer.ts";
import { compareOnWindows } from "./divergence.ts";
import { generate } from "./generate.ts";
import { generateTexts } from "./generated_texts.ts";
import { answerOnce } from "./latency.ts";
import { logLikelihoods } from "./log_likelihood.ts";

const model = letterModel({ layers: [{}, {}], tiedEmbeddings: false });
const windows = randomWindows([6, 6]);

/** Everything that reads weights for itself, or a head. */
const PASSES: Readonly<Record<string, (runner: DecoderRunner) => Promise<unknown>>> = {
  losses: (runner) => nextTokenLoss(runner, windows),
  gradients: (runner) =>
    lossGradients(
      runner,
      windows.map((ids) => ({ ids, batch: 1, tokens: ids.length })),
      { program: "train", onOutputs: () => {}, stage: "test", onProgress: silent },
    ),
  distances: (runner) => compareOnWindows([runner, runner], windows),
  likelihoods: (runner) => logLikelihoods(runner, [{ ids: windows[0]!, context: 3 }]),
  generation: (runner) => generate(runner, windows[0]!, { maxTokens: 2, stopIds: [] }),
  "own texts": (runner) =>
    generateTexts(runner, Tokenizer.fromFiles(model.files), {
      count: 2,
      tokens: 3,
      temperature: 1,
      topP: 1,
      seed: 0,
    }),
  speed: (runner) => answerOnce(runner, { batch: 1, promptTokens: 2, newTokens: 1 }),
};

/** A runner whose head fails. */
class FailingHead extends DecoderRunner {
  override runHead(): Promise<never> {
    return Promise.reject(new Error("head fails"));
  }
}

/** A runner whose first layer fails, when another one may have been read ahead. */
class FailingLayer extends DecoderRunner {
  override runLayer(): Promise<never> {
    return Promise.reject(new Error("layer fails"));
  }
}

function counting(): CountingRuntime {
  const runtime = new CountingRuntime();
  onTestFinished(() => runtime.close());
  return runtime;
}

describe.each(Object.entries(PASSES))("of %s", (_, pass) => {
  test("no weights stay on a device", async () => {
    const runtime = counting();
    await pass(new DecoderRunner(model, runtime));
    expect(runtime.most).toBeGreaterThan(0);
    expect(runtime.kept).toBe(0);
  });

  test.each([
    ["head", FailingHead],
    ["layer", FailingLayer],
  ])("no weights stay on a device where a %s fails", async (what, Runner) => {
    const runtime = counting();
    await expect(pass(new Runner(model, runtime))).rejects.toThrow(`${what} fails`);
    expect(runtime.most).toBeGreaterThan(0);
    await vi.waitFor(() => expect(runtime.kept).toBe(0));
  });
});
