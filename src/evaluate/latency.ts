/**
 * How fast models answer, and what they hold in memory meanwhile: the prompt in one pass, or a few where it is long
 * (decoding.ts), then token after token with a key/value cache. Models take turns, so that a busy machine slows all of
 * them alike. A first round, which compiles, does not count. Memory is measured before, in a process for each model
 * (peak_memory.ts).
 */

import { requireCount } from "../base/arguments.ts";
import { type OnProgress, silent } from "../base/progress.ts";
import { GpruneError } from "../errors.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import type { Runtime } from "../graph/runtime/runtime.ts";
import type { Model } from "../model/model.ts";
import { parameterCount } from "../model/spaces.ts";
import { randomStream } from "../tensor/random.ts";
import { type Spread, spread } from "../tensor/statistics.ts";
import { Decoding, loadDecoder } from "./decoding.ts";
import { peakMemory, type Workload } from "./peak_memory.ts";

/** How much every model reads and writes in a round, and how often. */
export interface LatencyOptions extends Workload {
  /** Rounds that count. */
  readonly repeats: number;
  readonly onProgress?: OnProgress;
}

/** How fast one model is. */
export interface Latency {
  /** Tokens per second over all sequences. */
  readonly prompt: Spread;
  readonly decoding: Spread;
  /** Seconds until the first token of every sequence is there. */
  readonly first_token: Spread;
  /** Rates over the first model's in the same round; absent in the first. */
  readonly over_first?: { readonly prompt: Spread; readonly decoding: Spread };
  readonly memory: LatencyMemory;
}

/** Bytes. */
export interface LatencyMemory {
  /** Of the weights in float32. */
  readonly weights: number;
  /** Of keys and values at the end. */
  readonly cache: number;
  /** Of a process that does the same with this model alone, as `peakMemory` measures it; null for a model in memory. */
  readonly peak_rss_bytes: number | null;
}

/** Seconds of one round. */
interface Times {
  readonly prompt: number;
  readonly decoding: number;
}

/**
 * Measures models in turns. One model's weights are in memory at a time.
 * @throws GpruneError BAD_ARGUMENT when a model cannot hold so many tokens, or for numbers that are not whole and
 * positive
 */
export async function measureLatency(
  { models, runtime }: { readonly models: readonly Model[]; readonly runtime: Runtime },
  { onProgress = silent, ...options }: LatencyOptions,
): Promise<readonly Latency[]> {
  requireAnswerable(models, options);
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
    const own = times[m]!;
    const memory = { ...memoryOf(model, options), peak_rss_bytes: peaks[m]! };
    const rates = ratesOf(own, options);
    if (m === 0) return { ...rates, memory };
    const over = (of: keyof Times): Spread =>
      spread(own.map((time, round) => times[0]![round]![of] / time[of]));
    return { ...rates, over_first: { prompt: over("prompt"), decoding: over("decoding") }, memory };
  });
}

/** Takes prompts of random tokens in and goes on with them; the clock stands still while weights are read. */
export async function answerOnce(
  runner: DecoderRunner,
  { batch, promptTokens, newTokens }: Workload,
): Promise<Times> {
  const { vocabSize } = runner.model.spec;
  const random = randomStream(0, "latency");
  const draw = (count: number): Int32Array => Int32Array.from({ length: count }, () => random() * vocabSize);
  const decoding = new Decoding(await loadDecoder(runner), batch);
  const start = performance.now();
  await decoding.append(draw(batch * promptTokens));
  const middle = performance.now();
  for (let token = 0; token < newTokens; token++) {
    await decoding.append(draw(batch));
  }
  const end = performance.now();
  return { prompt: (middle - start) / 1000, decoding: (end - middle) / 1000 };
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
  const heads = spec.layers.reduce((sum, { kvGroups }) => sum + kvGroups, 0);
  const cache = 4 * 2 * heads * spec.headDim * batch * (promptTokens + newTokens);
  return { weights: 4 * parameterCount(spec), cache };
}

/**
 * @throws GpruneError BAD_ARGUMENT when a model cannot hold so many tokens, or for numbers that are not whole and
 * positive
 */
export function requireAnswerable(
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
    { hint: "Ask for shorter prompts or fewer tokens with --prompt-tokens and --new-tokens." },
  );
}
