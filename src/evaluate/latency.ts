/**
 * Speed and memory of models that answer prompts: the prompts in one pass, or a few where they are long (decoding.ts),
 * then token by token with a key/value cache. Models take turns, so that a busy machine slows all of them alike. A
 * warm-up round, which compiles graphs, is not counted. Peak memory is measured first, in a process per model
 * (peak_memory.ts).
 */

import { requireCount } from "../base/arguments.ts";
import { type OnProgress, silent } from "../base/progress.ts";
import { GpruneError } from "../errors.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import type { Runtime } from "../graph/runtime/runtime.ts";
import type { Model } from "../model/model.ts";
import { parameterCount } from "../model/parameter_counts.ts";
import { randomStream } from "../tensor/random.ts";
import { type Spread, spread } from "../tensor/statistics.ts";
import { closeDecoder, Decoding, loadDecoder } from "./decoding.ts";
import { cacheSizes } from "./layer_cache.ts";
import { peakMemory, type Workload } from "./peak_memory.ts";

/** Options of {@link measureLatency}: the workload of a round, and the number of rounds. */
export interface LatencyOptions extends Workload {
  /** Measured rounds, without the warm-up. */
  readonly repeats: number;
  readonly onProgress?: OnProgress;
}

/** Speed and memory of one model, as `gprune compare --speed` prints them. */
export interface Latency {
  /** Prompt tokens per second over all sequences. */
  readonly prompt: Spread;
  /** Generated tokens per second over all sequences. */
  readonly decoding: Spread;
  /** Time to first token, seconds: all prompts of the batch together. */
  readonly first_token: Spread;
  /** Rates divided by the first model's in the same round; absent in the first. */
  readonly over_first?: { readonly prompt: Spread; readonly decoding: Spread };
  readonly memory: LatencyMemory;
}

/** Memory of one model, bytes. */
export interface LatencyMemory {
  /** Of the weights in float32. */
  readonly weights: number;
  /** Of the key/value cache at the end. */
  readonly cache: number;
  /** Peak of a process that runs this workload with this model alone (`peakMemory`); null for a model in memory. */
  readonly peak_rss_bytes: number | null;
}

/** Seconds of one round. */
interface Times {
  readonly prompt: number;
  readonly decoding: number;
}

/**
 * Measures models in turns, with one model's weights in memory at a time.
 * @throws GpruneError as `requireWorkloadFits`
 */
export async function measureLatency(
  { models, runtime }: { readonly models: readonly Model[]; readonly runtime: Runtime },
  { onProgress = silent, ...options }: LatencyOptions,
): Promise<readonly Latency[]> {
  requireWorkloadFits(models, options);
  const peaks: (number | null)[] = [];
  for (const model of models) {
    peaks.push(await peakMemory(model, { ...options, threads: runtime.threads, device: runtime.device }));
    onProgress({ stage: "memory", done: peaks.length, total: models.length, unit: "models" });
  }
  const total = (options.repeats + 1) * models.length;
  const times: Times[][] = models.map(() => []);
  for (let round = 0; round <= options.repeats; round++) {
    for (const [m, model] of models.entries()) {
      const measured = await answerOnce(new DecoderRunner(model, runtime), options);
      if (round > 0) times[m]!.push(measured);
      onProgress({ stage: "speed", done: round * models.length + m + 1, total, unit: "rounds" });
    }
  }
  return models.map((model, m) => {
    const memory = { ...memoryOf(model, options), peak_rss_bytes: peaks[m]! };
    const rates = ratesOf(times[m]!, options);
    if (m === 0) return { ...rates, memory };
    const speedup = (phase: keyof Times): Spread =>
      spread(times[m]!.map((time, round) => times[0]![round]![phase] / time[phase]));
    return { ...rates, over_first: { prompt: speedup("prompt"), decoding: speedup("decoding") }, memory };
  });
}

/** Runs prompts of random tokens and decodes random tokens after them; the times exclude loading the weights. */
export async function answerOnce(
  runner: DecoderRunner,
  { batch, promptTokens, newTokens }: Workload,
): Promise<Times> {
  const { vocabSize } = runner.model.spec;
  const random = randomStream(0, "latency");
  const draw = (count: number): Int32Array => Int32Array.from({ length: count }, () => random() * vocabSize);
  const decoder = await loadDecoder(runner);
  try {
    const decoding = new Decoding(decoder, batch);
    const start = performance.now();
    await decoding.append(draw(batch * promptTokens));
    const promptEnd = performance.now();
    for (let token = 0; token < newTokens; token++) {
      await decoding.append(draw(batch));
    }
    const end = performance.now();
    return { prompt: (promptEnd - start) / 1000, decoding: (end - promptEnd) / 1000 };
  } finally {
    await closeDecoder(decoder);
  }
}

function ratesOf(
  times: readonly Times[],
  { batch, promptTokens, newTokens }: LatencyOptions,
): Pick<Latency, "prompt" | "decoding" | "first_token"> {
  return {
    prompt: spread(times.map(({ prompt }) => (batch * promptTokens) / prompt)),
    decoding: spread(times.map(({ decoding }) => (batch * newTokens) / decoding)),
    first_token: spread(times.map(({ prompt }) => prompt)),
  };
}

function memoryOf(
  { spec }: Model,
  { batch, promptTokens, newTokens }: Workload,
): Omit<LatencyMemory, "peak_rss_bytes"> {
  const { token, fixed } = cacheSizes(spec);
  const cache = 4 * batch * (fixed + token * (promptTokens + newTokens));
  return { weights: 4 * parameterCount(spec), cache };
}

/** @throws GpruneError BAD_ARGUMENT for counts that are no positive whole numbers, or more tokens than a model takes */
export function requireWorkloadFits(
  models: readonly Model[],
  { repeats, batch, promptTokens, newTokens }: LatencyOptions,
): void {
  const counts = { repeats, batch, promptTokens, newTokens };
  for (const [name, count] of Object.entries(counts)) requireCount(name, count);
  const tokens = promptTokens + newTokens;
  const small = models.find(({ spec }) => tokens > spec.maxPositions);
  if (small === undefined) return;
  throw new GpruneError(
    "BAD_ARGUMENT",
    `speed of ${small.origin.name}: expected at most ${small.spec.maxPositions} tokens, got ${tokens}`,
    { hint: "Use shorter prompts (--prompt-tokens) or generate fewer tokens (--new-tokens)." },
  );
}
