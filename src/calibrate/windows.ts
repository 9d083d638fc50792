/** Windows of tokens cut from texts, and the seeded choice among them. */

import { requireCount } from "../base/arguments.ts";
import { plainName } from "../base/plain_text.ts";
import { GpruneError } from "../errors.ts";
import { readText, type TextOptions } from "../io/texts/texts.ts";
import type { Model } from "../model/model.ts";
import type { Tokenizer } from "../model/tokenizer/tokenizer.ts";
import { randomStream } from "../tensor/random.ts";
import { calibrationSetText, type TokenSet } from "./calibrate.ts";
import type { NamedText } from "./text_sets.ts";

/**
 * Consecutive non-overlapping windows of `length` tokens; the last partial one is dropped.
 * @param options - `where`: name of the text, for messages; `first`: the token that every window begins with, followed
 *   by `length` - 1 tokens of the text without its own `first`; none when null or absent
 * @throws GpruneError BAD_TEXT when there is not one whole window, BAD_ARGUMENT for a length that leaves no room for
 *   text
 */
export function cutWindows(
  ids: Int32Array,
  length: number,
  options: { readonly where: string; readonly first?: number | null },
): readonly Int32Array[] {
  const { where, first = null } = options;
  const minLength = first === null ? 1 : 2;
  requireCount(`tokens in a window of ${where}`, length, { least: minLength });
  const stride = first === null ? length : length - 1;
  const text = ids[0] === first ? ids.subarray(1) : ids;
  const count = Math.floor(text.length / stride);
  if (count === 0) {
    throw new GpruneError("BAD_TEXT", `${where}: expected at least ${stride} tokens, got ${text.length}`, {
      hint: "Give more text or use shorter windows (--seq-len).",
    });
  }
  const windows = Array.from({ length: count }, (_, w) => text.subarray(w * stride, (w + 1) * stride));
  return first === null ? windows : windows.map((window) => beginningWith(first, window));
}

/** A window is cut into one piece more if that saves more than this fraction of its tokens from being dropped. */
const WORTH_A_PIECE = 1 / 32;

/**
 * Splits windows into equal pieces of at most `length` tokens, as few as hold nearly all of their tokens. All pieces
 * begin with BOS where windows do.
 * @param first - BOS, null where the tokenizer puts none before a text
 */
export function splitWindows<Tokens extends TokenSet>(
  set: Tokens,
  length: number,
  first: number | null,
): Tokens {
  const lead = first === null ? 0 : 1;
  const cut = (window: Int32Array): readonly Int32Array[] => {
    if (window.length <= length) return [window];
    const tokens = window.length - (window[0] === first ? 1 : 0);
    const sizeOf = (pieces: number): number => Math.min(length - lead, Math.floor(tokens / pieces));
    const fewest = Math.floor(tokens / (length - lead));
    const gained = (fewest + 1) * sizeOf(fewest + 1) - fewest * sizeOf(fewest);
    const size = sizeOf(gained > WORTH_A_PIECE * tokens ? fewest + 1 : fewest);
    return cutWindows(window, lead + size, { where: set.name, first });
  };
  return { ...set, windows: set.windows.flatMap(cut) };
}

function beginningWith(first: number, ids: Int32Array): Int32Array {
  const window = new Int32Array(1 + ids.length);
  window[0] = first;
  window.set(ids, 1);
  return window;
}

/** @throws GpruneError BAD_ARGUMENT when windows of `length` tokens are longer than a model's sequences may be */
export function requireWindowsFit({ spec: { maxPositions }, origin }: Model, length: number): void {
  if (length <= maxPositions) return;
  const expected = `at most ${maxPositions} tokens, the context length of ${plainName(origin.name)}`;
  throw new GpruneError("BAD_ARGUMENT", `window length: expected ${expected}, got ${length}`, {
    hint: `Use windows of at most ${maxPositions} tokens (--seq-len).`,
  });
}

/** `1 window`, `2 windows` */
export function windowsText(count: number): string {
  return count === 1 ? "1 window" : `${count} windows`;
}

/** Default number of tokens in a window. */
const DEFAULT_WINDOW = 512;

/** Tokens in a window: as requested, else the default, or the shortest context of the models if that is less. */
export function windowLength(models: readonly Pick<Model, "spec">[], requested: number | undefined): number {
  return requested ?? Math.min(DEFAULT_WINDOW, ...models.map(({ spec }) => spec.maxPositions));
}

/** `count` of the windows, or all if there are fewer; which ones depends on the seed and the label alone. */
export function chooseWindows<T>(
  windows: readonly T[],
  count: number,
  { seed, label }: { readonly seed: number; readonly label: string },
): readonly T[] {
  const random = randomStream(seed, `windows ${label}`);
  const order = windows.map((_, index) => index);
  const chosen = Math.min(count, windows.length);
  for (let i = 0; i < chosen; i++) {
    const j = i + Math.floor(random() * (order.length - i));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order.slice(0, chosen).map((index) => windows[index]!);
}

/**
 * Takes `count` distinct windows, at most all, from position `start` of an endless sequence of shuffled passes over the
 * windows; repeated ones are skipped. The sequence depends on the seed and the label alone. Successive rounds together
 * see as many different windows as there are (docs/EXPERIMENTS.md).
 */
export function windowsInTurn<T>(
  windows: readonly T[],
  { start, count }: { readonly start: number; readonly count: number },
  { seed, label }: { readonly seed: number; readonly label: string },
): readonly T[] {
  const pass = Math.floor(start / windows.length);
  const sequence = [pass, pass + 1].flatMap((time) =>
    chooseWindows(windows, windows.length, { seed, label: `${label} time ${time}` }),
  );
  return [...new Set(sequence.slice(start - pass * windows.length))].slice(0, count);
}

/** Start and count for `windowsInTurn`, from the number of windows of a set. */
export type TurnOf = (windows: number) => { readonly start: number; readonly count: number };

/** Windows of every set for gradients; all callers take turns in the same sequence of each set. */
export function setsInTurn(sets: readonly TokenSet[], turnOf: TurnOf, seed: number): readonly TokenSet[] {
  return sets.map(({ name, windows }) => {
    const turn = turnOf(windows.length);
    return { name, windows: windowsInTurn(windows, turn, { seed, label: `${name} rounds` }) };
  });
}

/** Windows of a set that decide, and others of its text. */
export interface DecidingSet extends TokenSet {
  /** Windows that least squares alone has; none when absent. */
  readonly fresh?: readonly Int32Array[];
}

/**
 * As `setsInTurn`, but windows that no turn before had come first, fresh ones among them: what is measured on them does
 * not repeat the errors of earlier decisions (docs/EXPERIMENTS.md). No set gives more windows than decide.
 */
export function freshSetsInTurn(
  sets: readonly DecidingSet[],
  turnOf: TurnOf,
  seed: number,
): readonly TokenSet[] {
  const inTurn = setsInTurn(sets, turnOf, seed);
  return sets.map(({ name, windows: { length }, fresh = [] }, d) => {
    const { windows } = inTurn[d]!;
    const unseen = Math.max(0, length - turnOf(length).start);
    const inOrder = [...windows.slice(0, unseen), ...fresh, ...windows.slice(unseen)];
    return { name, windows: inOrder.slice(0, windows.length) };
  });
}

/** A sampled set with the windows of the same text that calibration does not see. */
export interface SampledSet extends TokenSet {
  /** A few windows that nothing may learn from. */
  readonly heldOut: readonly Int32Array[];
  /** All others, in random order. */
  readonly unused: readonly Int32Array[];
  /** Approximate bytes of memory that tokenising its text took; absent where no text was read. */
  readonly encodingBytes?: number;
}

/** How much of a text is read and which of its windows are taken: the same seed takes the same ones. */
export interface SamplingOptions extends TextOptions {
  /** Number of windows to sample. */
  readonly samples: number;
  /**
   * Number of windows to read text for; `samples` when absent. If these need more than 8 MB of a longer text, more of
   * it is read, and other windows are drawn.
   */
  readonly refitSamples?: number;
  /** Tokens in a window. */
  readonly seqLen: number;
  readonly seed: number;
}

/** Number of windows of each set that are held out, as far as the text has them. */
export const HELD_OUT_WINDOWS = 2;

/**
 * A set that nothing learns from: only its held-out windows, or the last ones of a text that has none. The run that
 * decided had the first ones, and may have had fewer.
 */
export function forCheckAlone({ windows, heldOut, ...set }: SampledSet): SampledSet {
  const checked = heldOut.length > 0 ? heldOut : windows.slice(-HELD_OUT_WINDOWS);
  return { ...set, windows: [], heldOut: checked, unused: [] };
}

/** Windows and tokens of one set that a run learned from. */
export interface SetUse {
  readonly windows: number;
  readonly tokens: number;
  /** Windows that least squares had; absent where there was none. */
  readonly refit_windows?: number | undefined;
}

/** Windows of a set to learn from: `count` of them, the sampled ones first, at most all but those held out. */
export function learnable({ name, windows, unused }: SampledSet, count: number): TokenSet {
  return { name, windows: [...windows, ...unused].slice(0, count) };
}

/** The sampled windows decide; of the others, those are fresh that least squares has of `refitSamples` windows. */
export function decidingSet(set: SampledSet, refitSamples: number): DecidingSet {
  const { name, windows } = set;
  return { name, windows, fresh: learnable(set, refitSamples).windows.slice(windows.length) };
}

/** Bytes of text read for a set: at least these, and this many for every requested token. */
const MIN_TEXT_BYTES = 2 ** 23;
const TEXT_BYTES_PER_TOKEN = 16;

/**
 * Reads, perhaps downloads, tokenises and samples a calibration set.
 * @throws GpruneError BAD_TEXT for a text without a whole window, BAD_ARGUMENT for numbers of windows or tokens that
 *   are not whole and positive; and as `readText` and `Tokenizer.encode`
 */
export async function loadTokenSet(
  { name, path }: NamedText,
  tokenizer: Tokenizer,
  { samples, refitSamples = samples, seqLen, seed, ...hub }: SamplingOptions,
): Promise<SampledSet> {
  for (const [option, count] of Object.entries({ samples, refitSamples, seqLen }))
    requireCount(option, count);
  const tokens = Math.max(samples, refitSamples) * seqLen;
  const text = await readText(path, Math.max(MIN_TEXT_BYTES, tokens * TEXT_BYTES_PER_TOKEN), hub);
  return sampledSet({ name, path, text }, tokenizer, { samples, seqLen, seed });
}

/**
 * Cuts a set's text into windows and chooses among them. Windows begin with BOS where the tokenizer puts it first: the
 * model is going to see it, and some can do little without (docs/METHODS.md).
 * @throws GpruneError BAD_TEXT for a text without a whole window
 */
export function sampledSet(
  { name, path, text }: NamedText & { readonly text: string },
  tokenizer: Tokenizer,
  { samples, seqLen, seed }: Pick<SamplingOptions, "samples" | "seqLen" | "seed">,
): SampledSet {
  const where = `${calibrationSetText({ name })} (${path})`;
  const windows = cutWindows(tokenizer.encode(text), seqLen, { where, first: tokenizer.leadingId });
  const shuffled = chooseWindows(windows, windows.length, { seed, label: name });
  const heldOutEnd = samples + HELD_OUT_WINDOWS;
  return {
    name,
    windows: shuffled.slice(0, samples),
    heldOut: shuffled.slice(samples, heldOutEnd),
    unused: shuffled.slice(heldOutEnd),
    encodingBytes: text.length * tokenizer.characterBytes,
  };
}
