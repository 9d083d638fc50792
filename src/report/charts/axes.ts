/** Scales and axes with at least two labelled ticks at round numbers, for any span of values. */
import { clamp, largestBy, smallestBy } from "../../tensor/statistics.ts";
import { UNCOUNTED } from "../format.ts";
import type { Chart } from "../pictures.ts";

/** Length of a horizontal axis and width of a label's character, units of the SVG; vertical axes have more room. */
const ROOM = 300;
const CHARACTER = 7;
/** Most ticks of an axis. */
const MOST = 7;
/** Relative differences below this are rounding errors. */
const ROUNDING = 1e-9;
/** Limits of a logarithmic scale, which cannot reach zero or infinity. */
const [LEAST, LARGEST] = [1e-300, 1e300];

export interface Span {
  readonly min: number;
  readonly max: number;
}

/** The values' span with padding; never empty. @param pad - share of the span, or of the value if all are equal */
export function spanOf(values: readonly number[], pad: number): Span {
  const [min, max] = [Math.min(...values), Math.max(...values)];
  const size = Math.max(Math.abs(min), Math.abs(max));
  const more = pad * (max - min > ROUNDING * size ? max - min : size || 1);
  return { min: min - more, max: max + more };
}

/** A logarithmic scale over a span, and its axis. */
export function logScale(span: Span): Chart {
  const [min, max] = [clamp(span.min, LEAST, LARGEST), clamp(span.max, 2 * LEAST, LARGEST)];
  return { scale: { type: "log", domain: [min, max], nice: false }, axis: ticked(logTicks({ min, max })) };
}

/** A linear scale over a span, and its axis. */
export function linearScale({ min, max }: Span): Chart {
  return { scale: { domain: [min, max], nice: false, zero: false }, axis: ticked(linearTicks({ min, max })) };
}

function ticked(values: readonly number[]): Chart {
  const plain = `format(datum.value, ',.${decimalsOf(values)}~f')`;
  return {
    grid: true,
    values,
    labelExpr: `datum.value >= ${UNCOUNTED} ? format(datum.value, '.6~e') : ${plain}`,
  };
}

/** A tick's label, approximately as `ticked` draws it. */
function label(value: number, decimals: number): string {
  return value >= UNCOUNTED
    ? Number(value.toPrecision(7)).toExponential()
    : value.toLocaleString("en", { maximumFractionDigits: decimals });
}

/** Decimals that the ticks need to be written exactly. */
function decimalsOf(ticks: readonly number[]): number {
  const decimals = ticks.map((tick) => {
    const [digits = "", exponent = "0"] = `${tick}`.split("e");
    return (digits.split(".")[1]?.length ?? 0) - Number(exponent);
  });
  return clamp(Math.max(...decimals), 0, 20);
}

/**
 * Round numbers inside a span for a logarithmic axis: every nth power of ten, or 1, 3 or 1, 2, 5 times those, or equal
 * steps where the span is narrow; as many as have room for labels.
 */
export function logTicks({ min, max }: Span): readonly number[] {
  const first = Math.floor(Math.log10(min));
  const exponents = Array.from({ length: Math.ceil(Math.log10(max)) - first + 1 }, (_, i) => first + i);
  const powers = (factors: readonly number[], stride = 1): readonly number[] =>
    exponents
      .filter((exponent) => exponent % stride === 0)
      .flatMap((exponent) => factors.map((factor) => Number(`${factor}e${exponent}`)));
  const candidates = [
    ...[1, 2, 3, 5, 10, 20, 50, 100].map((stride) => powers([1], stride)),
    powers([1, 3]),
    powers([1, 2, 5]),
    ...steps({ min, max }),
  ].map((ticks) => ticks.filter((tick) => tick >= min && tick <= max));
  return densest(candidates, (tick) => Math.log(tick / min) / Math.log(max / min));
}

/** Round numbers inside a span at equal distances. */
export function linearTicks({ min, max }: Span): readonly number[] {
  return densest(steps({ min, max }), (tick) => (tick - min) / (max - min));
}

/** Multiples of 1, 2 and 5 times powers of ten inside the span, one list for each step size. */
function steps({ min, max }: Span): readonly (readonly number[])[] {
  const power = Math.floor(Math.log10(max - min));
  const sizes = [power - 1, power].flatMap((exponent) =>
    [1, 2, 5].map((factor) => [factor, exponent] as const),
  );
  return sizes.map(([factor, exponent]) => {
    const size = Number(`${factor}e${exponent}`);
    const [from, to] = [Math.ceil(min / size - 1e-9), Math.floor(max / size + 1e-9)];
    const digits = Math.min(100, Math.max(0, -exponent));
    return Array.from({ length: to - from + 1 }, (_, i) => Number(((from + i) * size).toFixed(digits)));
  });
}

/** The longest list whose labels have room; if none has, the shortest of two ticks or more. */
function densest(
  candidates: readonly (readonly number[])[],
  place: (tick: number) => number,
): readonly number[] {
  const usable = candidates.filter((ticks) => ticks.length >= 2);
  if (usable.length === 0) return [];
  const fitting = usable.filter((ticks) => ticks.length <= MOST && haveRoom(ticks, place));
  const sizeOf = ({ length }: readonly number[]): number => length;
  return fitting.length > 0 ? largestBy(fitting, sizeOf) : smallestBy(usable, sizeOf);
}

function haveRoom(ticks: readonly number[], place: (tick: number) => number): boolean {
  const decimals = decimalsOf(ticks);
  return ticks.every((tick, index) => {
    if (index === 0) return true;
    const width =
      (CHARACTER * (label(tick, decimals).length + label(ticks[index - 1]!, decimals).length)) / 2 + 10;
    return ROOM * (place(tick) - place(ticks[index - 1]!)) >= width;
  });
}
