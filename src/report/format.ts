/** Formats numbers for reports and the page of `gprune ui`, the same in every locale. Runs in browsers too. */

/** No-break space between a number and its unit. */
export const UNIT = "\u00a0";

/** `34.98 %` */
export function percent(fraction: number, digits = 1): string {
  return `${(100 * fraction).toFixed(digits)}${UNIT}%`;
}

/** `134.5 M`, `5.24 M`, `1.24 B`, `812 K` */
export function short(count: number): string {
  for (const [size, unit] of [
    [1e9, "B"],
    [1e6, "M"],
    [1e3, "K"],
  ] as const) {
    // Values that round up to the size: 999,950 is 1.00 M.
    const from = 0.99995 * size;
    if (count >= from) return `${(count / size).toFixed(count >= 100 * from ? 1 : 2)}${UNIT}${unit}`;
  }
  return `${count}`;
}

/** `134,515,008` */
export function whole(count: number): string {
  return count.toLocaleString("en");
}

/** `384 to 1536`, or one number when all are equal. */
export function range(values: readonly number[]): string {
  const [min, max] = [Math.min(...values), Math.max(...values)];
  return min === max ? `${min}` : `${min} to ${max}`;
}

/** Neurons of a model's layers that have any: `384 to 1536`, and whether that is of all experts of a layer. */
export function neurons(widths: readonly number[], experts: readonly number[] | undefined): string {
  return `${rangeOfPresent(widths)}${experts === undefined ? "" : " (of all experts together)"}`;
}

/** `range` over the layers that have any units. */
export function rangeOfPresent(units: readonly number[]): string {
  return range(units.filter((count) => count > 0));
}

/** Least number that is written as `1.2e+9`: it has too many digits to count. */
export const UNCOUNTED = 1e9;

/** A perplexity with as many digits as are worth reading. */
export function perplexity(value: number): string {
  if (value >= UNCOUNTED) return value.toExponential(1);
  return value >= 1000 ? whole(Math.round(value)) : value.toFixed(value >= 100 ? 1 : 2);
}

/** `×1.58` */
export function times(ratio: number): string {
  if (ratio >= UNCOUNTED) return `×${ratio.toExponential(1)}`;
  return `×${ratio >= 100 ? whole(Math.round(ratio)) : ratio.toFixed(2)}`;
}

/** `1 h 02 min`, `3 min 05 s`, `12.3 s`, `< 0.1 s` */
export function duration(seconds: number): string {
  if (seconds > 0 && seconds < 0.05) return ["<", "0.1", "s"].join(UNIT);
  if (seconds < 59.95) return `${seconds.toFixed(1)}${UNIT}s`;
  const pad = (value: number): string => String(value).padStart(2, "0");
  const total = Math.round(seconds);
  if (total < 3600) return [Math.floor(total / 60), "min", pad(total % 60), "s"].join(UNIT);
  return [Math.floor(total / 3600), "h", pad(Math.floor((total % 3600) / 60)), "min"].join(UNIT);
}

/** `0.52 GB`, decimal as on the command line. */
export function bytes(count: number): string {
  return `${(count / 1e9).toFixed(2)}${UNIT}GB`;
}

/** A number with a minus sign, which is as wide as a plus, instead of a leading hyphen. */
export function withMinus(text: string): string {
  return text.replace(/^-/, "\u2212");
}

/** Exp of the mean logarithm; 1 for no values. */
export function geometricMean(values: readonly number[]): number {
  const sum = values.reduce((total, value) => total + Math.log(value), 0);
  return Math.exp(values.length === 0 ? 0 : sum / values.length);
}
