import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { maxDifference } from "../../test/numbers.ts";
import { randomWindows } from "../../test/random_windows.ts";
import { referenceDecoder } from "../../test/reference_decoder.ts";
import { runModel } from "../../test/run_model.ts";
import { longrope } from "../../test/scaled_ropes.ts";
import { tinyModel } from "../../test/tiny_model.ts";
import { TINY_VARIANTS } from "../../test/tiny_variants.ts";
import type { ProgressEvent } from "../base/progress.ts";
import { DecoderRunner, type Outputs } from "../graph/decoder/decoder_runner.ts";
import { predictionLosses } from "../graph/decoder/loss.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import type { Model } from "../model/model.ts";
import { type Continuation, type LogLikelihood, logLikelihoods } from "./log_likelihood.ts";

let runtime: Runtime;
beforeAll(() => {
  runtime = new Runtime({ threads: 1 });
});
afterAll(() => runtime.close());

/** Continuations that share the context. */
function continued(
  context: readonly number[],
  ends: readonly (readonly number[])[],
): readonly Continuation[] {
  return ends.map((end) => ({ ids: Int32Array.from([...context, ...end]), context: context.length }));
}

/** The naive twin: one continuation at a time without shared prefixes, in float64. */
async function naive(
  model: Model,
  continuations: readonly Continuation[],
): Promise<readonly LogLikelihood[]> {
  const reference = await referenceDecoder(model);
  return continuations.map(({ ids, context }) => {
    const { logits } = reference(ids);
    let [sum, isGreedy] = [0, true];
    for (let t = context; t < ids.length; t++) {
      const row = logits[t - 1]!;
      sum += row[ids[t]!]! - Math.log(row.reduce((total, logit) => total + Math.exp(logit), 0));
      isGreedy &&= row.every((logit) => logit <= row[ids[t]!]!);
    }
    return { sum, isGreedy };
  });
}

function sumsOf(likelihoods: readonly LogLikelihood[]): readonly number[] {
  return likelihoods.map(({ sum }) => sum);
}

/** Documents of two candidates each, with random contexts of equal length. */
function documents(count: number, contextLength: number): readonly (readonly Continuation[])[] {
  const contexts = randomWindows(Array(count).fill(contextLength));
  return contexts.map((context, i) => continued([...context], [[i % 16, 3], [7]]));
}

/** Shared prefixes, a continuation that is another's prefix, equal ones, late forks, contexts of one token. */
const FOREST = [
  ...continued([1, 2, 3, 4, 5], [[6, 7, 8], [6, 7], [6, 7, 9, 10, 11, 12], [13], [6, 7, 8]]),
  ...continued([1, 2, 3], [[4, 5, 6], [9]]),
  ...continued([14], [[0], [1, 2, 3, 4, 5, 6, 7, 8]]),
  ...continued([3, 3, 3, 3, 3, 3], [[3, 3, 3, 3], [2]]),
];

describe("logLikelihoods", () => {
  test.each(Object.entries(TINY_VARIANTS))(
    "are those of every continuation alone: %s",
    async (_, options) => {
      const model = tinyModel({ ...options, seed: 5 });
      const own = await logLikelihoods(new DecoderRunner(model, runtime), FOREST);
      const expected = await naive(model, FOREST);
      expect(maxDifference(sumsOf(own), sumsOf(expected))).toBeLessThan(1e-5);
      expect(own.map(({ isGreedy }) => isGreedy)).toEqual(expected.map(({ isGreedy }) => isGreedy));
      expect(own[4]).toEqual(own[0]);
    },
  );

  test("do not depend on the order and the packing of documents", async () => {
    const model = tinyModel({ ...TINY_VARIANTS["as Gemma"]!, seed: 1 });
    const runner = new DecoderRunner(model, runtime);
    const all = documents(40, 30);
    const expected = await naive(model, all.flat());
    const orders = fc.shuffledSubarray([...all.keys()], { minLength: 20 });
    await fc.assert(
      fc.asyncProperty(orders, async (order) => {
        const own = await logLikelihoods(
          runner,
          order.flatMap((index) => all[index]!),
        );
        const wanted = order.flatMap((index) => expected.slice(2 * index, 2 * index + 2));
        expect(maxDifference(sumsOf(own), sumsOf(wanted))).toBeLessThan(1e-5);
      }),
      { numRuns: 5 },
    );
  });

  test("computes what is shared once, and no last token", async () => {
    const nodes = async (continuations: readonly Continuation[]): Promise<number> => {
      const events: ProgressEvent[] = [];
      const runner = new DecoderRunner(tinyModel(), runtime);
      await logLikelihoods(runner, continuations, { stage: "t", onProgress: (event) => events.push(event) });
      const last = events.at(-1)!;
      expect(last).toMatchObject({ stage: "t", done: last.total, unit: "tokens" });
      return last.total;
    };
    const ends = [0, 1, 2, 3].map((end) => [end, 9, 9]);
    expect(await nodes(continued([1, 2, 3, 4, 5], ends))).toBe(5 + 4 * 2);
    // A long context is not computed again because its ends exceed a pack, and a prompt that all share hardly is.
    const prompt = Array(600).fill(1) as number[];
    expect(await nodes(continued(prompt, ends))).toBe(600 + 4 * 2);
    const shots = documents(30, 30).flat();
    const prompted = shots.map(({ ids, context }) => ({
      ids: Int32Array.from([...prompt, ...ids]),
      context: 600 + context,
    }));
    expect(await nodes(prompted)).toBeLessThan((await nodes(shots)) + 3 * 600);
  });

  test("takes what is too long for a forest as sequences", async () => {
    const model = tinyModel({ ...TINY_VARIANTS["as Gemma"]!, seed: 2 });
    const programs: string[] = [];
    class Listening extends DecoderRunner {
      override runLayer(...given: Parameters<DecoderRunner["runLayer"]>): Promise<Outputs> {
        programs.push(given[0]);
        return super.runLayer(...given);
      }
    }
    const context = Array.from({ length: 4100 }, (_, i) => (i * i + (i >> 3)) % 16);
    const ends = [[1], [3, 4, 5], [8, 9]];
    const long = continued(context, ends);
    const own = await logLikelihoods(new Listening(model, runtime), long);
    // The first two are predicted in one sequence, the last one in another.
    expect(programs).toEqual(Array(2 * model.spec.layers.length).fill("forward"));
    const expected: number[] = [];
    for (const { ids, context: start } of long) {
      const losses = await predictionLosses(new DecoderRunner(model, runtime), [ids]);
      expected.push(-losses.subarray(start - 1).reduce((sum, loss) => sum + loss, 0));
    }
    expect(maxDifference(sumsOf(own), expected)).toBeLessThan(1e-5);
  });

  test.each([0, 3, 1.5])("refuses a context of %d of three tokens", async (context) => {
    const act = logLikelihoods(new DecoderRunner(tinyModel(), runtime), [
      { ids: Int32Array.of(1, 2, 3), context },
    ]);
    await expect(act).rejects.toMatchObject({
      code: "BAD_TEXT",
      message: expect.stringContaining(`${context}`),
    });
  });
});

test("rotates each continuation by the frequencies of its own length", async () => {
  const runner = new DecoderRunner(
    tinyModel({ layers: [{ rope: longrope() }, { rope: longrope() }] }),
    runtime,
  );
  const ends = [[6, 7], [6, 7, 9, 10], [13], [6, 7, 9, 11, 2]];
  const continuations = continued([1, 2, 3, 4, 5, 8], ends);
  const together = await logLikelihoods(runner, continuations);
  const alone = await Promise.all(continuations.map((one) => logLikelihoods(runner, [one])));
  expect(maxDifference(sumsOf(together), sumsOf(alone.flat()))).toBeLessThan(1e-5);
  for (const [index, { ids, context }] of continuations.entries()) {
    const { logits } = await runModel(runner, [ids.subarray(0, -1)]);
    const sum = [...ids.subarray(context)].reduce((total, id, t) => {
      const row = [...logits.subarray((context + t - 1) * 16, (context + t) * 16)];
      return total + row[id]! - Math.log(row.reduce((all, logit) => all + Math.exp(logit), 0));
    }, 0);
    expect(together[index]!.sum).toBeCloseTo(sum, 4);
  }
});
