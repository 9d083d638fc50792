/** Tables of several runs: one row for each, or one for each text where runs are few. */
import { namesText } from "../../base/lists.ts";
import { type Cell, type Column, numbers, table } from "../elements.ts";
import { bytes, duration, short } from "../format.ts";
import type { Html } from "../html.ts";
import { type NamedRun, referenceOf } from "../references.ts";
import { meanQuality, type Quality } from "../report_data.ts";
import { type SavedTask, taskSettings } from "../saved_evaluation.ts";
import { sharedTexts, type TextKind, whatDiffers } from "../shared_texts.ts";
import { accuracy, multiple, ppl, share } from "./cells.ts";
import { methodSentence, moment } from "./summary.ts";

/** Sizes of the pruned models, and mean perplexities on the texts that are the same in all runs. */
export function comparedRuns(runs: readonly NamedRun[]): Html {
  const means = (["texts", "heldOut"] as const).map((which) => meansOf(runs, which));
  return table({
    caption: "Runs",
    note: means.flatMap(({ note }) => note ?? []).join(" ") || null,
    columns: [
      { title: "Run" },
      ...numbers(["all", "FFN", "attention"], "Removed"),
      ...numbers(["Parameters"]),
      ...means.flatMap(({ columns }) => columns),
    ],
    rows: runs.map((run): readonly Cell[] => {
      const { record, removed } = run.data;
      return [
        run.name,
        ...[record.sparsity.achieved, removed.ffn, removed.kv].map(share),
        { text: short(record.parameters.after), value: record.parameters.after },
        ...means.flatMap(({ cells }) => cells(run)),
      ];
    }),
  });
}

interface Means {
  readonly columns: readonly Column[];
  readonly cells: (run: NamedRun) => readonly Cell[];
  readonly note: string | null;
}

const TITLES = { texts: "Evaluation texts", heldOut: "Held-out text" } as const;

/** Columns of means over the comparable texts; no columns, and a note on the reason, where there are none. */
function meansOf(runs: readonly NamedRun[], which: TextKind): Means {
  const measured = runs.filter(({ data }) => data[which].length > 0);
  const { names, others } = sharedTexts(runs, which);
  if (names.length === 0) {
    const note = measured.length === 0 ? null : `${TITLES[which]}: means do not compare: ${others}.`;
    return { columns: [], cells: () => [], note };
  }
  const mean = `${names.length === 1 ? "" : "geometric mean of "}${namesText(names)}`;
  const note = `${TITLES[which]}: ${mean}${others === null ? "" : `; not the same in all runs: ${others}`}.`;
  return {
    columns: numbers(["perplexity", "ratio"], TITLES[which]),
    cells: ({ data }) =>
      data[which].length === 0
        ? [null, null]
        : qualityCells(meanQuality(data[which].filter(({ name }) => names.includes(name)))),
    note,
  };
}

/** Methods, durations and memory of the runs. */
export function comparedWays(runs: readonly NamedRun[]): Html {
  return table({
    caption: "How they were made",
    columns: [{ title: "Run" }, ...numbers(["Took", "Memory"]), ...numbers(["Made"]), { title: "How" }],
    rows: runs.map(({ name, data }): readonly Cell[] => {
      const { record } = data;
      const seconds = record.timings.reduce((sum, timing) => sum + timing.seconds, 0);
      return [
        name,
        { text: duration(seconds), value: seconds },
        { text: bytes(record.peak_rss_bytes), value: record.peak_rss_bytes },
        { text: moment(record.started), value: Date.parse(record.started) },
        methodSentence(data),
      ];
    }),
  });
}

/** Perplexities on every text of any run, and their ratios to the reference. */
export function comparedQuality(runs: readonly NamedRun[], which: TextKind): Html | null {
  const texts = [...new Set(runs.flatMap(({ data }) => data[which].map(({ name }) => name)))];
  if (texts.length === 0) return null;
  const shared = sharedTexts(runs, which);
  return crossed(runs, {
    caption: `${which === "texts" ? "Evaluation texts" : "Held-out calibration text"}: perplexity, and times ${referenceOf(runs, which).whose}`,
    what: { one: "Text", names: texts },
    note: noteOf(shared.others),
    titles: ["perplexity", "ratio"],
    cells: ({ data }, text) => qualityCells(data[which].find(({ name }) => name === text)),
  });
}

/** A note on texts or tasks whose numbers cannot be compared; null where all can. */
function noteOf(others: string | null): string | null {
  return others === null ? null : `Not the same in all runs, or not for certain: ${others}.`;
}

function qualityCells(found: Quality | undefined): readonly Cell[] {
  return found === undefined ? [null, null] : [ppl(found.pruned), multiple(found.ratio)];
}

/** Accuracies on every task of any run. */
export function comparedTasks(runs: readonly NamedRun[]): Html | null {
  const tasksOf = ({ data }: NamedRun): readonly SavedTask[] => data.evaluation?.tasks ?? [];
  const tasks = [...new Set(runs.flatMap((run) => tasksOf(run).map(({ name }) => name)))];
  if (tasks.length === 0) return null;
  const others = tasks.flatMap((task) => {
    const reason = whyOtherTask(task, runs);
    return reason === null ? [] : [`${task} (${reason})`];
  });
  return crossed(runs, {
    caption: "Tasks: accuracy with standard errors",
    what: { one: "Task", names: tasks },
    note: noteOf(others.length === 0 ? null : others.join("; ")),
    titles: ["acc", "acc_norm"],
    cells: (run, task) => {
      const found = tasksOf(run).find(({ name }) => name === task) ?? null;
      return [accuracy(found, "acc"), accuracy(found, "acc_norm")];
    },
  });
}

/** Why the runs' accuracies on a task cannot be compared; null when they can. */
function whyOtherTask(task: string, runs: readonly NamedRun[]): string | null {
  const measured = runs.flatMap(({ data: { evaluation } }) => {
    const found = evaluation?.tasks.find(({ name }) => name === task);
    return found === undefined ? [] : [{ found, how: taskSettings(found, evaluation!.settings.tasks) }];
  });
  const reasons = [...whatDiffers(measured.map(({ how }) => how))];
  const baselines = new Set(
    measured.map(({ found: { baseline } }) => `${baseline?.acc} ${baseline?.acc_norm}`),
  );
  if (reasons.length === 0 && baselines.size > 1) reasons.push("baselines have other accuracies on it");
  if (measured.length < runs.length) reasons.push("not in all runs");
  return reasons.length === 0 ? null : reasons.join("; ");
}

/** Most runs for which a table has columns for each run. */
const MOST_COLUMNS = 4;

interface Crossed {
  readonly caption: string;
  readonly note: string | null;
  /** Names of the texts or tasks, and the noun for one of them. */
  readonly what: { readonly one: string; readonly names: readonly string[] };
  /** Titles of the columns of each run, or of each text or task. */
  readonly titles: readonly string[];
  readonly cells: (run: NamedRun, name: string) => readonly Cell[];
}

/** A table with runs as columns and texts or tasks as rows, or transposed where there are many runs. */
function crossed(runs: readonly NamedRun[], { caption, note, what, titles, cells }: Crossed): Html {
  const { one, names } = what;
  if (runs.length <= MOST_COLUMNS) {
    return table({
      caption,
      note,
      columns: [{ title: one }, ...runs.flatMap(({ name }) => numbers(titles, name))],
      rows: names.map((name) => [name, ...runs.flatMap((run) => cells(run, name))]),
    });
  }
  return table({
    caption,
    note,
    columns: [{ title: "Run" }, ...names.flatMap((name) => numbers(titles, name))],
    rows: runs.map((run) => [run.name, ...names.flatMap((name) => cells(run, name))]),
  });
}
