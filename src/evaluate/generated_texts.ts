/**
 * Texts that a model generates, to calibrate on where no texts are given: they approximate the whole distribution that
 * the model was trained on.
 *
 * A window begins with BOS where the tokenizer adds it. Every text begins with a token drawn uniformly from those that
 * begin a word, and continues by sampling; when it ends, the next one begins, until the window is full.
 * Source: LLM-QAT (arXiv 2305.17888), self-calibration (arXiv 2410.17170).
 */

import { badArgument, requireCount, requirePositive } from "../base/arguments.ts";
import { type OnProgress, silent } from "../base/progress.ts";
import { type Checkpoints, NO_CHECKPOINTS } from "../base/stages.ts";
import type { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import type { Tokenizer } from "../model/tokenizer/tokenizer.ts";
import { randomStream } from "../tensor/random.ts";
import { closeDecoder, Decoding, endingIds, type LoadedDecoder, loadDecoder } from "./decoding.ts";

/** Options of {@link generateTexts}. */
export interface GeneratedTextOptions {
  /** Windows of text. */
  readonly count: number;
  /** Tokens in a window. */
  readonly tokens: number;
  /** > 0; 1 samples from the model's own distribution. */
  readonly temperature: number;
  /** In (0, 1]; tokens are drawn from the smallest set that has this probability (nucleus sampling). */
  readonly topP: number;
  readonly seed: number;
  /** Number of the first window, 0 when absent; each number has its own random stream. */
  readonly first?: number;
  readonly onProgress?: OnProgress;
  /** Keeps its state between lots of windows. */
  readonly checkpoints?: Checkpoints<GeneratedTextState>;
}

/** Texts of the finished windows. */
export interface GeneratedTextState {
  readonly windows: readonly (readonly string[])[];
}

/** Most windows decoded at once: they share each read of the weights, but their caches must fit into memory. */
export const GENERATED_BATCH = 24;

/**
 * Generates texts, by window; a window holds several when the model ended one. The same seed gives the same texts for
 * every `count` (except that a single window may round differently from several, which may change a draw).
 * @throws GpruneError BAD_ARGUMENT for more tokens than the model takes, or options out of range
 */
export async function generateTexts(
  runner: DecoderRunner,
  tokenizer: Tokenizer,
  { count, first = 0, onProgress = silent, checkpoints = NO_CHECKPOINTS, ...options }: GeneratedTextOptions,
): Promise<readonly (readonly string[])[]> {
  const { maxPositions } = runner.model.spec;
  requireCount("count", count);
  requireCount("first", first, { least: 0 });
  requireCount("tokens", options.tokens);
  requirePositive("temperature", options.temperature);
  if (!(options.topP > 0 && options.topP <= 1))
    throw badArgument("topP", "a number above 0 and at most 1", options.topP);
  if (options.tokens > maxPositions) {
    const expected = `at most ${maxPositions} tokens, the context length of the model`;
    throw badArgument("tokens in a sample", expected, options.tokens);
  }
  const beginnings = beginningsOf(tokenizer, runner.model.spec.vocabSize);
  const ends: ReadonlySet<number> = new Set(endingIds(runner.model, tokenizer));
  const decoder = await loadDecoder(runner);
  try {
    const windows = [...((await checkpoints.restore())?.windows ?? [])];
    const total = count * options.tokens;
    // Lots of about equal size, since a small one takes nearly as long as a large one.
    const lot = Math.ceil(count / Math.ceil(count / GENERATED_BATCH));
    for (let start = windows.length; start < count; start = windows.length) {
      const lanes = Array.from({ length: Math.min(lot, count - start) }, (_, lane) => {
        return { random: randomStream(options.seed, `sample ${first + start + lane}`), ids: [] as number[] };
      });
      const report = (length: number): void => {
        const done = start * options.tokens + length * lanes.length;
        onProgress({ stage: "sample", done, total, unit: "tokens" });
      };
      await fillLanes(decoder, { lanes, beginnings, ends, tokenizer, report, ...options });
      for (const { ids } of lanes) windows.push(textsOf(ids, ends, tokenizer));
      await checkpoints.reached(() => ({ windows }));
    }
    return windows;
  } finally {
    await closeDecoder(decoder);
  }
}

/** One window: its random stream and its tokens so far. */
interface Lane {
  readonly random: () => number;
  readonly ids: number[];
}

/** Fills the windows of one lot token by token. */
async function fillLanes(
  decoder: LoadedDecoder,
  {
    lanes,
    beginnings,
    ends,
    tokenizer,
    report,
    tokens,
    temperature,
    topP,
  }: Pick<GeneratedTextOptions, "tokens" | "temperature" | "topP"> & {
    readonly lanes: readonly Lane[];
    readonly beginnings: readonly number[];
    readonly ends: ReadonlySet<number>;
    readonly tokenizer: Tokenizer;
    readonly report: (length: number) => void;
  },
): Promise<void> {
  const decoding = new Decoding(decoder, lanes.length);
  const begin = ({ random }: Lane): number => beginnings[Math.floor(random() * beginnings.length)]!;
  const leading = tokenizer.leadingId === null ? [] : [tokenizer.leadingId];
  for (const lane of lanes) lane.ids.push(...leading, begin(lane));
  let newIds = Int32Array.from(lanes.flatMap(({ ids }) => ids));
  for (let length = leading.length + 1; length < tokens; length++) {
    const { data, shape } = await decoding.append(newIds);
    const vocabSize = shape[1]!;
    for (const [b, lane] of lanes.entries()) {
      const hasEnded = ends.has(lane.ids.at(-1)!);
      const logits = data.subarray(b * vocabSize, (b + 1) * vocabSize);
      lane.ids.push(hasEnded ? begin(lane) : draw(logits, { temperature, topP, random: lane.random }));
    }
    newIds = Int32Array.from(lanes, ({ ids }) => ids.at(-1)!);
    report(length + 1);
  }
}

/** Tokens that decode to letters, so no special tokens or parts of characters; all tokens if there are none. */
function beginningsOf(tokenizer: Tokenizer, vocabSize: number): readonly number[] {
  const ids = Array.from({ length: Math.min(vocabSize, tokenizer.vocabSize) }, (_, id) => id);
  const words = ids.filter((id) => /^[ ▁]?\p{L}[\p{L}\p{M}]*$/u.test(tokenizer.decode([id])));
  return words.length > 0 ? words : ids;
}

/** Draws a token from softmax(logits / temperature), restricted to the smallest set of probability `topP`. */
function draw(
  logits: Float32Array,
  {
    temperature,
    topP,
    random,
  }: { readonly temperature: number; readonly topP: number; readonly random: () => number },
): number {
  // Plain loops, since every drawn token passes over the whole vocabulary.
  let highest = Number.NEGATIVE_INFINITY;
  for (const logit of logits) if (logit > highest) highest = logit;
  const weights = new Float64Array(logits.length);
  let total = 0;
  for (let id = 0; id < weights.length; id++) {
    weights[id] = Math.exp((logits[id]! - highest) / temperature);
    total += weights[id]!;
  }
  if (topP < 1) total = keepNucleus(weights, topP * total);
  let remaining = random() * total;
  let last = 0;
  for (let id = 0; id < weights.length; id++) {
    if (weights[id] === 0) continue;
    last = id;
    remaining -= weights[id]!;
    if (remaining < 0) break;
  }
  // Rounding may leave a positive remainder; then the last token with a weight is drawn.
  return last;
}

/**
 * Zeroes all weights but the largest ones that first reach `minWeight` together; among equal weights the lower id is
 * kept first. Returns the weight kept.
 */
function keepNucleus(weights: Float64Array, minWeight: number): number {
  const order = Array.from(weights.keys()).sort((a, b) => weights[b]! - weights[a]! || a - b);
  let kept = 0;
  for (const id of order) {
    if (kept >= minWeight) weights[id] = 0;
    else kept += weights[id]!;
  }
  return kept;
}

/** The texts of a window, split where the model ended one; those of only white space are dropped. */
function textsOf(ids: readonly number[], ends: ReadonlySet<number>, tokenizer: Tokenizer): readonly string[] {
  const texts: number[][] = [[]];
  for (const id of tokenizer.leadingId === null ? ids : ids.slice(1)) {
    if (ends.has(id)) texts.push([]);
    else texts.at(-1)!.push(id);
  }
  return texts.map((textIds) => tokenizer.decode(textIds).trim()).filter((text) => text !== "");
}
