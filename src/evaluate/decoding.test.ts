import { afterAll, beforeAll, expect, test } from "vitest";
import { relativeDifference } from "../../test/numbers.ts";
import { randomWindows } from "../../test/random_windows.ts";
import { runModel } from "../../test/run_model.ts";
import { longrope } from "../../test/scaled_ropes.ts";
import { tinyModel } from "../../test/tiny_model.ts";
import { DecoderRunner, type LoadedLayer, type Outputs } from "../graph/decoder/decoder_runner.ts";
import { multipliesBlocks } from "../graph/runtime/block_check.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { closeDecoder, Decoding, loadDecoder, loadFastDecoder } from "./decoding.ts";

let runtime: Runtime;
beforeAll(() => {
  runtime = new Runtime({ threads: 1 });
});
afterAll(() => runtime.close());

test("goes on with several sequences as if each were alone and whole, however often tokens come", async () => {
  const runner = new DecoderRunner(tinyModel({ layers: [{}, { kvGroups: 1 }] }), runtime);
  const sequences = randomWindows([10, 10, 10], { seed: 3 });
  const { vocabSize } = runner.model.spec;
  const decoding = new Decoding(await loadDecoder(runner), sequences.length);
  const steps = [3, 1, 1, 2, 1, 2];
  let seen = 0;
  for (const tokens of steps) {
    const ids = sequences.flatMap((sequence) => [...sequence.subarray(seen, seen + tokens)]);
    seen += tokens;
    const { data, shape } = await decoding.append(Int32Array.from(ids));
    expect(shape).toEqual([sequences.length, vocabSize]);
    const whole: number[] = [];
    for (const sequence of sequences) {
      const { logits } = await runModel(runner, [sequence.subarray(0, seen)]);
      whole.push(...logits.slice(-vocabSize));
    }
    expect(relativeDifference(data, whole)).toBeLessThan(1e-5);
  }
  expect(seen).toBe(10);
});

test("takes long beginnings in pieces, to the same logits", async () => {
  const longest = { tokens: 0 };
  class Listening extends DecoderRunner {
    override runLayer(...given: Parameters<DecoderRunner["runLayer"]>): Promise<Outputs> {
      longest.tokens = Math.max(longest.tokens, given[2].hidden.shape[1]!);
      return super.runLayer(...given);
    }
  }
  const model = tinyModel({ layers: [{ window: 300 }, { kvGroups: 1 }] });
  const sequences = randomWindows([2100, 2100], { seed: 4 });
  const decoding = new Decoding(await loadDecoder(new Listening(model, runtime)), sequences.length);
  const { data } = await decoding.append(Int32Array.from(sequences.flatMap((sequence) => [...sequence])));
  expect(longest.tokens).toBe(256);
  const whole: number[] = [];
  for (const sequence of sequences) {
    const { logits } = await runModel(new DecoderRunner(model, runtime), [sequence]);
    whole.push(...logits.slice(-model.spec.vocabSize));
  }
  expect(relativeDifference(data, whole)).toBeLessThan(1e-5);
});

test("computes all tokens anew where LongRoPE changes its frequencies", async () => {
  const runner = new DecoderRunner(tinyModel({ layers: [{ rope: longrope() }, { kvGroups: 1 }] }), runtime);
  const sequences = randomWindows([12, 12], { seed: 3 });
  const { vocabSize } = runner.model.spec;
  const decoding = new Decoding(await loadDecoder(runner), sequences.length);
  let seen = 0;
  for (const tokens of [3, 4, 1, 1, 2, 1]) {
    const ids = sequences.flatMap((sequence) => [...sequence.subarray(seen, seen + tokens)]);
    seen += tokens;
    const { data } = await decoding.append(Int32Array.from(ids));
    const whole = await Promise.all(
      sequences.map((sequence) => runModel(runner, [sequence.subarray(0, seen)])),
    );
    const last = whole.flatMap(({ logits }) => [...logits.slice(-vocabSize)]);
    expect(relativeDifference(data, last), `${seen} tokens`).toBeLessThan(1e-5);
  }
});

test("rotates every piece of a long beginning by the frequencies of the whole", async () => {
  const runner = new DecoderRunner(tinyModel({ layers: [{ rope: longrope(2050) }] }), runtime);
  const [sequence] = randomWindows([2060], { seed: 4 });
  const decoding = new Decoding(await loadDecoder(runner), 1);
  const { data } = await decoding.append(sequence!);
  const { logits } = await runModel(runner, [sequence!]);
  expect(relativeDifference(data, logits.slice(-runner.model.spec.vocabSize))).toBeLessThan(1e-5);
});

test("takes long beginnings with float32 weights where those at hand are integers", async () => {
  let passes = 0;
  class Listening extends DecoderRunner {
    override loadLayers(...given: Parameters<DecoderRunner["loadLayers"]>): AsyncGenerator<LoadedLayer> {
      passes++;
      return super.loadLayers(...given);
    }
  }
  const runner = new Listening(tinyModel({ layers: [{ window: 90 }, { kvGroups: 1 }] }), runtime);
  const decoder = await loadFastDecoder(runner, 1000);
  const [sequence] = randomWindows([262], { seed: 5 });
  const { logits } = await runModel(runner, [sequence!]);
  const { vocabSize } = runner.model.spec;
  const decoding = new Decoding(decoder, 1);
  passes = 0;
  for (const [start, end] of [
    [0, 260],
    [260, 261],
    [261, 262],
  ] as const) {
    const { data } = await decoding.append(sequence!.subarray(start, end));
    const wanted = logits.slice((end - 1) * vocabSize, end * vocabSize);
    expect(relativeDifference(data, wanted)).toBeLessThan(3e-4);
  }
  expect(passes).toBe((await multipliesBlocks(runtime)) ? 1 : 0);
  await closeDecoder(decoder);
});
