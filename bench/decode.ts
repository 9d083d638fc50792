/**
 * Cost of quantised weights: dequantising them, and decoding with them.
 *
 *   node --import tsx bench/decode.ts
 *   node --import tsx bench/decode.ts MODEL [--threads 1,2] [--past 8,256] [--turns 7]
 *
 * Without a model: speed of dequantising every type to float32 on one core, beside copying as many float32. With a
 * model: milliseconds for a decoded token, median and fastest, with float32 weights, and with matrices in blocks as
 * `gprune generate` uses them for long texts; before that, the time to load each. Both take turns of eight tokens in
 * one process, so that whatever slows the machine down affects both. Finally the largest difference of their logits at
 * the ends of turns, relative to the range of the logits.
 */
import { parseOptions, positiveInteger, positiveIntegers } from "../scripts/clients/options.ts";
import { markdownTable } from "../scripts/clients/table.ts";
import { Decoding, type LoadedDecoder, loadDecoder, loadFastDecoder } from "../src/evaluate/decoding.ts";
import { DecoderRunner } from "../src/graph/decoder/decoder_runner.ts";
import { Runtime } from "../src/graph/runtime/runtime.ts";
import { GGML_TYPES } from "../src/io/formats/ggml_types.ts";
import { openModel } from "../src/model/checkpoint/checkpoint.ts";
import type { Model } from "../src/model/model.ts";
import { spread } from "../src/tensor/statistics.ts";

/** Weights of a turn: 8 FFN projections of SmolLM2-135M, more than the caches hold. */
const WEIGHTS = 8 * 576 * 1536;
/** Repetitions, of which the fastest counts. */
const TURNS = 9;
/** Tokens of a turn. */
const TOKENS = 8;

/** Prints the speed of dequantising every type. */
function rates(): void {
  const target = new Float32Array(WEIGHTS);
  const source = new Float32Array(WEIGHTS);
  const rows: [string, number][] = [["copy", rate(() => target.set(source))]];
  for (const { name, blockSize, blockBytes, dequantize } of GGML_TYPES.values()) {
    if (dequantize === null || /^[FI]64$|^I/.test(name)) continue;
    const bytes = new Uint8Array((WEIGHTS / blockSize) * blockBytes).map((_, i) => (i * 7919) & 127);
    rows.push([name, rate(() => dequantize(bytes, target))]);
  }
  for (const [name, perSecond] of rows) {
    const giga = `${((4 * perSecond) / 1e9).toFixed(1)} GB/s of float32`;
    console.log(`${name.padEnd(5)} ${(perSecond / 1e6).toFixed(0).padStart(5)} million weights/s  ${giga}`);
  }
}

/** Weights per second. */
function rate(run: () => void): number {
  let fastest = Number.POSITIVE_INFINITY;
  for (let turn = 0; turn < TURNS; turn++) {
    const start = performance.now();
    run();
    fastest = Math.min(fastest, performance.now() - start);
  }
  return (1000 * WEIGHTS) / fastest;
}

/** A decoder with a past of some tokens, and its measurements. */
interface Contestant {
  readonly weights: string;
  readonly threads: number;
  readonly past: number;
  readonly decoding: Decoding;
  readonly milliseconds: number[];
  logits: Float32Array;
}

interface Settings {
  readonly threads: readonly number[];
  readonly past: readonly number[];
  readonly turns: number;
}

const LOADERS: Readonly<Record<string, (runner: DecoderRunner) => Promise<LoadedDecoder>>> = {
  float32: loadDecoder,
  blocks: (runner) => loadFastDecoder(runner, Number.POSITIVE_INFINITY),
};

async function compareTokens(path: string, { threads, past, turns }: Settings): Promise<void> {
  const model = await openModel(path);
  const contestants: Contestant[] = [];
  for (const count of threads) contestants.push(...(await enter(model, count, past)));
  let apart = 0;
  for (let turn = 0; turn < turns; turn++) {
    for (const contestant of contestants) await takeTurn(contestant, model.spec.vocabSize);
    // Contestants with the same past have seen the same tokens.
    for (const { past, logits } of contestants) {
      apart = Math.max(apart, distance(logits, contestants.find((other) => other.past === past)!.logits));
    }
  }
  await model.weights.close();
  report(contestants);
  console.log(`logits at most ${apart.toExponential(1)} of their range apart`);
}

/** Contestants for every way of holding the weights and every length of the past. */
async function enter(model: Model, threads: number, past: readonly number[]): Promise<readonly Contestant[]> {
  const { vocabSize } = model.spec;
  const contestants: Contestant[] = [];
  for (const [weights, load] of Object.entries(LOADERS)) {
    const start = performance.now();
    const decoder = await load(new DecoderRunner(model, new Runtime({ threads })));
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    const programs = [decoder.head, ...decoder.layers].filter(({ program }) => program !== undefined).length;
    console.log(`${weights}, ${threads} threads: ready in ${seconds} s, ${programs} programs with blocks`);
    for (const length of past) {
      const decoding = new Decoding(decoder, 1);
      const ids = Int32Array.from({ length }, (_, index) => tokenAt(index, vocabSize));
      const { data: logits } = await decoding.append(ids);
      contestants.push({ weights, threads, past: length, decoding, milliseconds: [], logits });
    }
  }
  return contestants;
}

async function takeTurn(contestant: Contestant, vocabSize: number): Promise<void> {
  const { decoding, milliseconds } = contestant;
  // The first step is not timed: the caches still hold another decoder's weights.
  for (let step = 0; step <= TOKENS; step++) {
    const ids = Int32Array.of(tokenAt(milliseconds.length + step, vocabSize));
    const start = performance.now();
    contestant.logits = (await decoding.append(ids)).data;
    if (step > 0) milliseconds.push(performance.now() - start);
  }
}

function tokenAt(index: number, vocabSize: number): number {
  return (7 * index * index + 11 * index) % vocabSize;
}

/** Largest difference of two vectors of logits, relative to the range of the second. */
function distance(logits: Float32Array, of: Float32Array): number {
  let [least, most, largest] = [Infinity, -Infinity, 0];
  for (const [index, value] of of.entries()) {
    least = Math.min(least, value);
    most = Math.max(most, value);
    largest = Math.max(largest, Math.abs(value - logits[index]!));
  }
  return largest / (most - least);
}

function report(contestants: readonly Contestant[]): void {
  const columns = ["weights", "threads", "tokens before", "median, ms", "fastest, ms"];
  const rows = contestants.map(({ weights, threads, past, milliseconds }) => {
    const { median, min } = spread(milliseconds);
    return [weights, String(threads), String(past), median.toFixed(1), min.toFixed(1)];
  });
  console.log(markdownTable(columns, rows));
}

const { values, positionals } = parseOptions({
  allowPositionals: true,
  options: {
    threads: { type: "string", default: "1,2" },
    past: { type: "string", default: "8,256" },
    turns: { type: "string", default: "7" },
  },
});
if (positionals.length === 0) rates();
else {
  await compareTokens(positionals[0]!, {
    threads: positiveIntegers("threads", values.threads),
    past: positiveIntegers("past", values.past),
    turns: positiveInteger("turns", values.turns),
  });
}
