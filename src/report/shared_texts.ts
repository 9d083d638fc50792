/**
 * Finds the texts that several runs were measured on alike, so that their numbers can be compared. Runs do not keep the
 * texts, so this is inferred from their records, and texts count as the same only where that leaves no doubt.
 */
import { namesText } from "../base/lists.ts";
import type { NamedRun } from "./references.ts";
import { isSamePath } from "./report_data.ts";
import { shortName } from "./text.ts";

/** Largest relative difference of a model's perplexities on a text between machines. */
const SAME = 1e-3;
/** The same on one machine; required where paths do not show that text and model are the same. */
const SURELY_SAME = 1e-6;

export type TextKind = "heldOut" | "texts";

export interface Shared {
  /** Names of the texts that are the same in all runs, in order of appearance. */
  readonly names: readonly string[];
  /** The other texts with the reasons, as part of a sentence; null when there are none. */
  readonly others: string | null;
}

/** A run's record of its measurement on a text. */
interface Measurement {
  /** The baseline's perplexity. */
  readonly dense: number | null;
  /** The baseline. */
  readonly model: string;
  /** Path of the text; undefined where it is not recorded. */
  readonly path: string | undefined;
  /** Settings that must be equal, by the words for them. */
  readonly how: Readonly<Record<string, string>>;
}

/** Compares the texts of the runs that were measured on texts of this kind. */
export function sharedTexts(runs: readonly NamedRun[], which: TextKind): Shared {
  const measured = runs.filter(({ data }) => data[which].length > 0);
  const names = [...new Set(measured.flatMap(({ data }) => data[which].map(({ name }) => name)))];
  const reasons = new Map<string, readonly string[]>();
  const shared = names.filter((name) => {
    const reason = whyOther(measured.map((run) => measurementOf(name, run, which)));
    if (reason !== null) reasons.set(reason, [...(reasons.get(reason) ?? []), name]);
    return reason === null;
  });
  const parts = [...reasons].map(([reason, texts]) => `${namesText(texts)} (${reason})`);
  return { names: shared, others: parts.length === 0 ? null : parts.join("; ") };
}

function measurementOf(name: string, { data }: NamedRun, which: TextKind): Measurement | null {
  const { record, evaluation } = data;
  if (which === "texts") {
    const text = evaluation?.texts.find((one) => one.name === name && one.baseline !== null);
    if (evaluation === null || text === undefined) return null;
    const start = evaluation.settings.texts?.bos ? "with" : "without";
    return {
      dense: text.baseline,
      model: evaluation.baseline ?? record.base,
      path: undefined,
      how: { windows: `${text.windows}`, "--seq-len": `${evaluation.seq_len}`, BOS: start },
    };
  }
  const text = record.held_out.find((one) => one.name === name);
  if (text === undefined) return null;
  const { seqLen, samples, seed } = record.settings;
  const how = {
    windows: text.windows,
    "--seq-len": seqLen,
    "--samples": samples,
    "--seed": seed,
    "parameters of the dense model": record.parameters.before,
  };
  return {
    dense: text.dense,
    model: record.base,
    path: record.calibration.find((set) => set.name === name)?.path,
    how: Object.fromEntries(Object.entries(how).map(([what, value]) => [what, `${value ?? "?"}`])),
  };
}

/** Why texts of one name may not be the same; null when they are. @param runs - null for a run without the text */
function whyOther(runs: readonly (Measurement | null)[]): string | null {
  const measurements = runs.filter((measurement) => measurement !== null);
  if (measurements.length < runs.length) return "not in all runs";
  const models = [...new Set(measurements.map(({ model }) => shortName(model)))];
  const different = whatDiffers(measurements.map(({ how }) => how));
  const [first, ...others] = measurements as [Measurement, ...Measurement[]];
  const isOther = others.some((other) => !isSameMeasurement(first, other));
  if (different.length === 0 && !isOther) return null;
  if (models.length > 1) return `different models, ${models.join(" and ")}`;
  if (different.length > 0) return different.join("; ");
  return "the dense model has different perplexities on it";
}

/** The settings that are not equal in all measurements, as `windows 4 and 8`. */
export function whatDiffers(all: readonly Measurement["how"][]): readonly string[] {
  const names = new Set(all.flatMap((how) => Object.keys(how)));
  return [...names].flatMap((what) => {
    const values = [...new Set(all.map((how) => how[what] ?? "unknown"))];
    return values.length === 1 ? [] : [`${what} ${values.join(" and ")}`];
  });
}

function isSameMeasurement(a: Measurement, b: Measurement): boolean {
  if (a.dense === null || b.dense === null) return false;
  const isSamePlace = isSamePath(a.model, b.model) && isSamePath(a.path ?? "", b.path ?? "");
  return Math.abs(a.dense / b.dense - 1) <= (isSamePlace ? SAME : SURELY_SAME);
}
