/**
 * A small seeded random number source for the text generators.
 *
 * It is a 32-bit mulberry generator with a few helpers for choosing words.
 * It is not meant for cryptography or for statistics; it only has to give the
 * same text for the same seed on every machine.
 */

/** A source of random choices that depends on its seed alone. */
export interface Rng {
  /** A number in [0, 1). */
  next(): number;
  /** A whole number between low and high, both included. */
  int(low: number, high: number): number;
  /** True with the given probability. */
  chance(probability: number): boolean;
  /** One item, all equally likely. */
  pick<T>(items: readonly T[]): T;
  /** One item, the earlier ones being more likely. */
  skewed<T>(items: readonly T[]): T;
  /** Several different items in random order. */
  sample<T>(items: readonly T[], count: number): T[];
}

/** Mix a text label and a number into a 32-bit seed. */
export function seedOf(label: string, index: number): number {
  let hash = 0x811c9dc5;
  for (const character of label) {
    hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01000193);
  }
  hash = Math.imul(hash ^ index, 0x9e3779b1);
  hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
  return (hash ^ (hash >>> 13)) >>> 0;
}

/** The item at a position that is known to exist. */
export function at<T>(items: readonly T[], index: number): T {
  const item = items[index];
  if (item === undefined) {
    throw new RangeError(`no item at position ${index} of ${items.length}`);
  }
  return item;
}

/** Split a block of text into its words. */
export function words(block: string): readonly string[] {
  return block.trim().split(/\s+/u);
}

/** Split a block of text into phrases separated by commas. */
export function phrases(block: string): readonly string[] {
  return block
    .trim()
    .split(/\s*,\s*/u)
    .map((phrase) => phrase.replace(/\s+/gu, " "));
}

/** The text with its first letter in upper case. */
export function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function mulberry(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** Make a source of random choices from a seed. */
export function createRng(seed: number): Rng {
  const next = mulberry(seed);
  const int = (low: number, high: number): number => low + Math.floor(next() * (high - low + 1));
  return {
    next,
    int,
    chance: (probability) => next() < probability,
    pick: (items) => at(items, int(0, items.length - 1)),
    skewed: (items) => at(items, Math.floor(next() ** 1.8 * items.length)),
    sample: (items, count) => {
      const left = [...items];
      const taken = [];
      while (taken.length < count && left.length > 0) {
        taken.push(...left.splice(int(0, left.length - 1), 1));
      }
      return taken;
    },
  };
}
