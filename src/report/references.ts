/** The model that the perplexities of several runs are multiples of: one for all runs, or one for each. */
import { isSamePath, type ReportData } from "./report_data.ts";
import { shortName } from "./text.ts";

/** A run and its name beside others. */
export interface NamedRun {
  readonly name: string;
  readonly data: ReportData;
}

/** The model whose perplexity counts as 1. */
export interface Reference {
  /** `the dense model's`, `NAME's`, or `that of the run's own baseline` with a list of them. */
  readonly whose: string;
  /** The model's short name; null where there are several. */
  readonly name: string | null;
  /** Whether it is the base model of every run. */
  readonly isDense: boolean;
}

/** The reference of the runs that were measured on texts of this kind. */
export function referenceOf(runs: readonly NamedRun[], which: "heldOut" | "texts"): Reference {
  const found = runs
    .filter(({ data }) => data[which].length > 0)
    .map(({ name, data: { record, otherBaseline } }) => {
      const other = which === "texts" ? otherBaseline : null;
      return { name, model: other ?? record.base, isDense: other === null };
    });
  const [first] = found;
  const isShared = found.every(({ model }) => isSamePath(model, first!.model));
  if (!isShared) {
    const models = [...new Set(found.map(({ model }) => model))];
    const runsOf = (model: string): string =>
      found.flatMap((one) => (one.model === model ? [one.name] : [])).join(", ");
    const list = models.map((model) => `${runsOf(model)}: ${model}`).join("; ");
    return { whose: `that of the run's own baseline (${list})`, name: null, isDense: false };
  }
  const isDense = found.every((one) => one.isDense);
  const name = shortName(first!.model);
  return { whose: isDense ? "the dense model's" : `${name}'s`, name, isDense };
}
