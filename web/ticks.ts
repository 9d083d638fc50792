/** Where an axis has numbers: round ones, about as many as there is room for. */

export interface Ticks {
  readonly at: readonly number[];
  /** Digits after the point that tell them apart. */
  readonly digits: number;
}

/** Distances between two numbers, but for a power of ten. */
const STEPS = [1, 2, 5, 10] as const;

/** Differences below this share of the values are rounding, and what is smaller than this is zero. */
const ROUNDING = 1e-9;
const SMALLEST = 1e-15;

/**
 * Multiples of 1, 2 or 5 times a power of ten, `count` spaces or fewer between them, the last ones around all values.
 */
export function ticksAround(min: number, max: number, count: number): Ticks {
  // Values that are all alike, but for rounding, get room around them.
  const large = Math.max(Math.abs(min), Math.abs(max));
  const scale = large < SMALLEST ? 1 : large;
  const room = max - min > ROUNDING * scale ? 0 : scale / 10;
  const [low, high] = [min - room, max + room];
  const rough = (high - low) / count;
  const exponents = [Math.floor(Math.log10(rough)), Math.floor(Math.log10(rough)) + 1];
  const candidates = exponents.flatMap((exponent) => STEPS.map((step) => ({ step, exponent })));
  const spaces = (size: number): number => Math.ceil(high / size - 1e-9) - Math.floor(low / size + 1e-9);
  const sizeOf = ({ step, exponent }: (typeof candidates)[number]): number => step * 10 ** exponent;
  const found = candidates.find((candidate) => spaces(sizeOf(candidate)) <= count) ?? candidates.at(-1)!;
  const size = sizeOf(found);
  const first = Math.floor(low / size + 1e-9);
  const digits = Math.min(20, Math.max(0, -found.exponent - (found.step === 10 ? 1 : 0)));
  const at = Array.from({ length: spaces(size) + 1 }, (_, index) =>
    Number(((first + index) * size).toFixed(digits)),
  );
  return { at, digits };
}

/** Whole numbers: the first and the last, and round ones between them that leave room. */
export function stepTicks(first: number, last: number, count: number): readonly number[] {
  if (last - first <= count) return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  const { at } = ticksAround(first, last, count);
  const room = (last - first) / (2 * count);
  return [first, ...at.filter((tick) => tick - first > room && last - tick > room), last];
}
