/**
 * Which texts several runs were measured on alike, so that their numbers can be compared. Runs keep no text, so that it
 * is told by what they say of it, and called the same only where that leaves no doubt.
 */
import { namesText } from "../base/lists.ts";
import { isSamePath } from "./facts.ts";
import type { NamedFacts } from "./references.ts";
import { shortName } from "./text.ts";

/** Relative difference of two perplexities of one model on one text, computed on other machines. */
const SAME = 1e-3;
/**
 * Where the same path does not say that it is one text, or one model: as far as one machine computes the same twice.
 */
const SURELY_SAME = 1e-6;

export type TextKind = "heldOut" | "texts";

export interface Shared {
  /** Names of the texts that are the same in all runs, in the order of the first. */
  readonly names: readonly string[];
  /** Why others are not, or not for certain: a part of a sentence; null when there are none. */
  readonly others: string | null;
}

/** What a run says of a text. */
interface Told {
  /** The baseline's perplexity. */
  readonly dense: number | null;
  readonly model: string;
  readonly path: string | undefined;
  /** What must be the same, by what it is called. */
  readonly how: Readonly<Record<string, string>>;
}

/** The texts of the runs that have some. */
export function sharedTexts(runs: readonly NamedFacts[], which: TextKind): Shared {
  const measured = runs.filter(({ facts }) => facts[which].length > 0);
  const names = [...new Set(measured.flatMap(({ facts }) => facts[which].map(({ name }) => name)))];
  const reasons = new Map<string, readonly string[]>();
  const shared = names.filter((name) => {
    const told = measured.map((run) => toldOf(name, run, which));
    const reason = whyOther(told);
    if (reason !== null) reasons.set(reason, [...(reasons.get(reason) ?? []), name]);
    return reason === null;
  });
  const parts = [...reasons].map(([reason, texts]) => `${namesText(texts)} (${reason})`);
  return { names: shared, others: parts.length === 0 ? null : parts.join("; ") };
}

function toldOf(name: string, { facts }: NamedFacts, which: TextKind): Told | null {
  const { record, evaluation } = facts;
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

/** What tells that texts of one name are not the same; null when nothing can be. */
function whyOther(all: readonly (Told | null)[]): string | null {
  const told = all.filter((one) => one !== null);
  if (told.length < all.length) return "not in all runs";
  const models = [...new Set(told.map(({ model }) => shortName(model)))];
  const different = whatDiffers(told.map(({ how }) => how));
  const [first, ...rest] = told as [Told, ...Told[]];
  const isOther = rest.some((one) => !isSameMeasure(first, one));
  if (different.length === 0 && !isOther) return null;
  if (models.length > 1) return `other models, ${models.join(" and ")}`;
  if (different.length > 0) return different.join("; ");
  return "the model before pruning has other perplexities on it";
}

/** What several were not measured alike with: `windows 4 and 8`. */
export function whatDiffers(all: readonly Told["how"][]): readonly string[] {
  const names = new Set(all.flatMap((how) => Object.keys(how)));
  return [...names].flatMap((what) => {
    const values = [...new Set(all.map((how) => how[what] ?? "not known"))];
    return values.length === 1 ? [] : [`${what} ${values.join(" and ")}`];
  });
}

function isSameMeasure(a: Told, b: Told): boolean {
  if (a.dense === null || b.dense === null) return false;
  const isSamePlace = isSamePath(a.model, b.model) && isSamePath(a.path ?? "", b.path ?? "");
  return Math.abs(a.dense / b.dense - 1) <= (isSamePlace ? SAME : SURELY_SAME);
}
