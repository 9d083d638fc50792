/**
 * Text that a model writes by itself, to calibrate on where there is none: it comes from the distribution that the
 * model was trained on, all of it, as far as the model knows it.
 *
 * Every text begins with a token drawn uniformly from those that begin a word, the first of a window after BOS where
 * the tokenizer adds it, and goes on by sampling; one that ends is followed by another, until all tokens are there.
 * Source: LLM-QAT (arXiv 2305.17888), self-calibration (arXiv 2410.17170).
 */

import { badArgument, requireCount, requirePositive } from "../base/arguments.ts";
import { type OnProgress, silent } from "../base/progress.ts";
import { type Checkpoints, NO_CHECKPOINTS } from "../base/stages.ts";
import { GpruneError } from "../errors.ts";
import type { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import type { Tokenizer } from "../model/tokenizer/tokenizer.ts";
import { randomStream } from "../tensor/random.ts";
import { Decoding, endingIds, type LoadedDecoder, loadDecoder } from "./decoding.ts";

/** How much a model writes, and how tokens are drawn from its distribution. */
export interface SampleOptions {
  /** Windows of text. */
  readonly count: number;
  /** Tokens in a window. */
  readonly tokens: number;
  /** > 0; 1 samples from the model's own distribution. */
  readonly temperature: number;
  /** In (0, 1]; only the most probable tokens that together have this probability are drawn. */
  readonly topP: number;
  readonly seed: number;
  /** Number of the first window, 0 when absent: every number has texts of its own. */
  readonly first?: number;
  readonly onProgress?: OnProgress;
  /** Keeps its state between lots of windows. */
  readonly checkpoints?: Checkpoints<SampleState>;
}

/** What has been written so far. */
export interface SampleState {
  readonly windows: readonly (readonly string[])[];
}

/**
 * Windows that are decoded at once, at most: every token reads all weights for all of them, but their caches must fit
 * into memory.
 */
export const SAMPLE_BATCH = 24;

/**
 * Texts by the windows they are from; a window holds several when the model ended one. The same seed gives the same
 * texts, whatever `count` (a single window may round otherwise than several do, which may change a draw).
 * @throws GpruneError BAD_ARGUMENT when the model cannot hold so many tokens, or for numbers out of their bounds
 */
export async function sampleTexts(
  runner: DecoderRunner,
  tokenizer: Tokenizer,
  { count, first = 0, onProgress = silent, checkpoints = NO_CHECKPOINTS, ...options }: SampleOptions,
): Promise<readonly (readonly string[])[]> {
  const { maxPositions } = runner.model.spec;
  requireCount("count", count);
  requireCount("first", first, 0);
  requireCount("tokens", options.tokens);
  requirePositive("temperature", options.temperature);
  if (!(options.topP > 0 && options.topP <= 1))
    throw badArgument("topP", "a number above 0, at most 1", options.topP);
  if (options.tokens > maxPositions) {
    const expected = `at most the model's ${maxPositions} tokens`;
    throw new GpruneError("BAD_ARGUMENT", `--max-tokens: expected ${expected}, got ${options.tokens}`);
  }
  const beginnings = beginningsOf(tokenizer, runner.model.spec.vocabSize);
  const ends: ReadonlySet<number> = new Set(endingIds(runner.model, tokenizer));
  const decoder = await loadDecoder(runner);
  const windows = [...((await checkpoints.restore())?.windows ?? [])];
  const total = count * options.tokens;
  // Lots of about as many windows each, since a small one takes nearly as long.
  const lot = Math.ceil(count / Math.ceil(count / SAMPLE_BATCH));
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
}

/** One sequence, and what it draws from. */
interface Lane {
  readonly random: () => number;
  readonly ids: number[];
}

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
  }: Pick<SampleOptions, "tokens" | "temperature" | "topP"> & {
    readonly lanes: readonly Lane[];
    readonly beginnings: readonly number[];
    readonly ends: ReadonlySet<number>;
    readonly tokenizer: Tokenizer;
    readonly report: (length: number) => void;
  },
): Promise<void> {
  const decoding = new Decoding(decoder, lanes.length);
  const begin = ({ random }: Lane): number => beginnings[Math.floor(random() * beginnings.length)]!;
  const first = tokenizer.leadingId === null ? [] : [tokenizer.leadingId];
  for (const lane of lanes) lane.ids.push(...first, begin(lane));
  let fresh = Int32Array.from(lanes.flatMap(({ ids }) => ids));
  for (let length = first.length + 1; length < tokens; length++) {
    const last = lanes.map(({ ids }) => ids.at(-1)!);
    const { data, shape } = await decoding.append(fresh);
    const size = shape[1]!;
    for (const [b, lane] of lanes.entries()) {
      const ended = ends.has(last[b]!);
      const logits = data.subarray(b * size, (b + 1) * size);
      lane.ids.push(ended ? begin(lane) : draw(logits, { temperature, topP, random: lane.random }));
    }
    fresh = Int32Array.from(lanes, ({ ids }) => ids.at(-1)!);
    report(length + 1);
  }
}

/** Tokens that decode to the beginning of a word, which special tokens and parts of characters do not. */
function beginningsOf(tokenizer: Tokenizer, vocabSize: number): readonly number[] {
  const all = Array.from({ length: Math.min(vocabSize, tokenizer.vocabSize) }, (_, id) => id);
  const words = all.filter((id) => /^[ ▁]?\p{L}[\p{L}\p{M}]*$/u.test(tokenizer.decode([id])));
  return words.length > 0 ? words : all;
}

/** A token by softmax(logits / temperature), cut to the smallest set of probability `topP`. */
function draw(
  logits: Float32Array,
  {
    temperature,
    topP,
    random,
  }: { readonly temperature: number; readonly topP: number; readonly random: () => number },
): number {
  // Plain loops: a vocabulary is long, and there is a draw for every token.
  let highest = Number.NEGATIVE_INFINITY;
  for (const logit of logits) if (logit > highest) highest = logit;
  const weights = new Float64Array(logits.length);
  let total = 0;
  for (let id = 0; id < weights.length; id++) {
    weights[id] = Math.exp((logits[id]! - highest) / temperature);
    total += weights[id]!;
  }
  if (topP < 1) total = keepNucleus(weights, topP * total);
  let rest = random() * total;
  let last = 0;
  for (let id = 0; id < weights.length; id++) {
    if (weights[id] === 0) continue;
    last = id;
    rest -= weights[id]!;
    if (rest < 0) break;
  }
  // Rounding may leave a little over.
  return last;
}

/** Sets to zero what the heaviest do without, of equals the lower id first, and returns the weight of those. */
function keepNucleus(weights: Float64Array, least: number): number {
  const order = Array.from(weights.keys()).sort((a, b) => weights[b]! - weights[a]! || a - b);
  let kept = 0;
  for (const id of order) {
    if (kept >= least) weights[id] = 0;
    else kept += weights[id]!;
  }
  return kept;
}

/** The texts of a window, cut where the model ended one; white space alone is none. */
function textsOf(ids: readonly number[], ends: ReadonlySet<number>, tokenizer: Tokenizer): readonly string[] {
  const texts: number[][] = [[]];
  for (const id of tokenizer.leadingId === null ? ids : ids.slice(1)) {
    if (ends.has(id)) texts.push([]);
    else texts.at(-1)!.push(id);
  }
  return texts.map((own) => tokenizer.decode(own).trim()).filter((text) => text !== "");
}
