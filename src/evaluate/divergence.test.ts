import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { randomWindows } from "../../test/random_windows.ts";
import { runModel } from "../../test/run_model.ts";
import { tinyModel, tinySpec } from "../../test/tiny_model.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import type { Model } from "../model/model.ts";
import { makePlan } from "../prune/plan.ts";
import { applyPlan } from "../prune/surgery.ts";
import { compareOnWindows, incomparable } from "./divergence.ts";
import { perplexity } from "./perplexity.ts";

let runtime: Runtime;
beforeAll(() => {
  runtime = new Runtime({ threads: 1 });
});
afterAll(() => runtime.close());

const dense = tinyModel({ layers: [{}, {}, {}] });
const keep = { "layers.0.ffn": [0, 2, 5], "layers.1.kv": [1], "layers.2.ffn": [1] };
const pruned = applyPlan(dense, makePlan(dense.spec, keep));
const windows = randomWindows([7, 7, 5]);

/** Log-probabilities of the next token over the vocabulary. */
function logSoftmax(logits: Float32Array): number[] {
  const sum = logits.reduce((total, logit) => total + Math.exp(logit), 0);
  return Array.from(logits, (logit) => logit - Math.log(sum));
}

/** The naive twin: the definitions applied to all logits and hidden states. */
async function naive(model: Model): Promise<{ kl: number; agreement: number; layers: number[] }> {
  const first = await runModel(new DecoderRunner(dense, runtime), windows);
  const own = await runModel(new DecoderRunner(model, runtime), windows);
  const { vocabSize: words, hiddenSize: size } = dense.spec;
  const tokens = windows.flatMap((window) => Array.from(window, (_, t) => t < window.length - 1));
  let [kl, agreed, predictions] = [0, 0, 0];
  for (const [t, predicts] of tokens.entries()) {
    if (!predicts) continue;
    const p = logSoftmax(first.logits.subarray(t * words, (t + 1) * words));
    const q = logSoftmax(own.logits.subarray(t * words, (t + 1) * words));
    for (const [word, log] of p.entries()) kl += Math.exp(log) * (log - q[word]!);
    agreed += Number(p.indexOf(Math.max(...p)) === q.indexOf(Math.max(...q)));
    predictions += 1;
  }
  const norm = (values: Float32Array): number => Math.hypot(...values);
  const layers = own.hidden.map((hidden, layer) => {
    const errors = tokens.map((_, t) => {
      const [a, b] = [hidden, first.hidden[layer]!].map((all) => all.subarray(t * size, (t + 1) * size));
      return norm(a!.map((value, c) => value - b![c]!)) / norm(b!);
    });
    return errors.reduce((sum, error) => sum + error, 0) / tokens.length;
  });
  return { kl: kl / predictions, agreement: agreed / predictions, layers };
}

describe("compareOnWindows", () => {
  test("agrees with the definitions, whatever else is compared", async () => {
    const runners = [dense, dense, pruned].map((model) => new DecoderRunner(model, runtime));
    const { scores, divergences } = await compareOnWindows(runners, windows);
    const [same, other] = divergences;
    expect(same).toEqual({ kl: 0, agreement: 1, loss_difference: 0, layers: [0, 0, 0] });
    const expected = await naive(pruned);
    expect(expected.kl).toBeGreaterThan(1e-3);
    expect(expected.agreement).toBeLessThan(1);
    expect(other!.kl).toBeCloseTo(expected.kl, 6);
    expect(other!.agreement).toBe(expected.agreement);
    for (const [layer, error] of expected.layers.entries()) {
      expect(error).toBeGreaterThan(1e-3);
      expect(other!.layers[layer]).toBeCloseTo(error, 6);
    }
    const alone = await Promise.all(runners.map((runner) => perplexity(runner, windows)));
    for (const [index, score] of scores.entries()) {
      expect(score).toMatchObject({ windows: 3, tokens: 16 });
      expect(score.nll).toBeCloseTo(alone[index]!.nll, 6);
    }
    expect(other!.loss_difference).toBeCloseTo(alone[2]!.nll - alone[0]!.nll, 6);
  });

  test("tells apart heads that have their own weights", async () => {
    const runners = [dense, tinyModel({ layers: [{}, {}, {}], seed: 1 })].map(
      (model) => new DecoderRunner(model, runtime),
    );
    const { divergences } = await compareOnWindows(runners, windows);
    expect(divergences[0]!.kl).toBeCloseTo((await naive(runners[1]!.model)).kl, 6);
  });

  test("loads heads when all layers are done, and has no more than two at a time", async () => {
    const steps: string[] = [];
    class Watched extends DecoderRunner {
      override async loadLayer(index: number) {
        steps.push(`layer ${index}`);
        return super.loadLayer(index);
      }
      override async loadHead() {
        const head = await super.loadHead();
        steps.push("head");
        heads.add(head.weights);
        return head;
      }
    }
    class WatchedRuntime extends Runtime {
      override release(weights: Parameters<Runtime["release"]>[0]) {
        if (heads.delete(weights)) steps.push("drop");
        super.release(weights);
      }
    }
    const heads = new Set<object>();
    const watched = new WatchedRuntime({ threads: 1 });
    const runners = [dense, pruned, pruned].map((model) => new Watched(model, watched));
    const found = await compareOnWindows(runners, windows);
    await watched.close();
    const layers = ["layer 0", "layer 1", "layer 2"].flatMap((name) => [name, name, name]);
    expect(steps).toEqual([...layers, "head", "head", "drop", "head", "drop", "drop"]);
    expect(found.divergences[0]).toEqual(found.divergences[1]);
  });

  test("tells its progress up to the end", async () => {
    const runners = [dense, pruned].map((model) => new DecoderRunner(model, runtime));
    const events: number[] = [];
    await compareOnWindows(runners, windows, {
      onProgress: ({ done, total }) => events.push(done / total),
    });
    expect(events).toEqual(events.toSorted((a, b) => a - b));
    expect(events.at(-1)).toBe(1);
  });
});

describe("incomparable", () => {
  test.each([
    [{ vocabSize: 17 }, "expected 16 tokens in the vocabulary, got 17"],
    [{ hiddenSize: 12 }, "expected 8 as the hidden size, got 12"],
    [{ layers: [{}] }, "expected 3 layers, got 1"],
    [{ layers: [{}, {}, {}], logitSoftcap: 30 }, /^expected .* as the settings of the output head, got .*30/],
    [{ layers: [{}, {}, {}], logitDivisor: 8 }, /^expected .* as the settings of the output head, got .*8/],
  ])("says why for %j", (changes, reason) => {
    expect(incomparable(dense.spec, tinySpec({ layers: [{}, {}, {}], ...changes }))).toMatch(reason);
  });

  test("is null for models that differ in widths alone", () => {
    expect(incomparable(dense.spec, pruned.spec)).toBeNull();
  });
});
