/** Cells of tables with a number, by which they are sorted; null for none. */
import type { Cell } from "../elements.ts";
import { percent, perplexity, times, whole } from "../format.ts";
import type { SavedAccuracy } from "../saved_evaluation.ts";

type Value = number | null | undefined;

function cell(value: Value, textOf: (value: number) => string): Cell {
  return value === null || value === undefined ? null : { text: textOf(value), value };
}

export function share(fraction: Value): Cell {
  return cell(fraction, (value) => percent(value));
}

export function count(value: Value): Cell {
  return cell(value, whole);
}

export function decimal(value: Value, digits = 2): Cell {
  return cell(value, (known) => known.toFixed(digits));
}

/** Four significant digits, for numbers of any size: `0.00001234`, `12.34`. */
export function significant(value: Value): Cell {
  return cell(value, (known) => String(Number(known.toPrecision(4))));
}

export function ppl(value: Value): Cell {
  return cell(value, perplexity);
}

/** `×1.58` */
export function multiple(ratio: Value): Cell {
  return cell(ratio, times);
}

/** An accuracy, with its standard error if it has one. */
export function accuracy(score: SavedAccuracy | null, which: "acc" | "acc_norm"): Cell {
  if (score === null) return null;
  const error = which === "acc" ? score.stderr : score.acc_norm_stderr;
  const spread = error === null ? "" : ` ± ${error.toFixed(3)}`;
  return { text: `${score[which].toFixed(3)}${spread}`, value: score[which] };
}
