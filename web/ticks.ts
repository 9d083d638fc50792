/** Positions of axis ticks: round numbers, about as many as there is room for. */

/** Ticks of an axis. */
export interface Ticks {
  readonly at: readonly number[];
  /** Digits after the decimal point that the labels need. */
  readonly digits: number;
}

/** Distances between two ticks, up to a power of ten. */
const STEPS = [1, 2, 5, 10] as const;

/** Relative differences below this are rounding errors. */
const ROUNDING = 1e-9;
/** Values below this count as zero. */
const SMALLEST = 1e-15;

/**
 * Ticks at multiples of 1, 2 or 5 times a power of ten that enclose all values, with `count` intervals or fewer.
 */
export function ticksAround(min: number, max: number, count: number): Ticks {
  // Values that are equal up to rounding get room around them.
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

/** Integer ticks: the first and the last step, and round numbers between them that leave room for the labels. */
export function stepTicks(first: number, last: number, count: number): readonly number[] {
  if (last - first <= count) return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  const { at } = ticksAround(first, last, count);
  const room = (last - first) / (2 * count);
  return [first, ...at.filter((tick) => tick - first > room && last - tick > room), last];
}
