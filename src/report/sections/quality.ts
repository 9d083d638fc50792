/** The section on quality: the pruned model's scores beside the baseline's. */

import { shellWord } from "../../base/plain_text.ts";
import { type Cell, type Figures, numbers, row, type Section, section, table } from "../elements.ts";
import { type Html, html } from "../html.ts";
import type { ReportData } from "../report_data.ts";
import { outputOf } from "../run_record.ts";
import type { SavedSettings, SavedText } from "../saved_evaluation.ts";
import { accuracy, count, decimal, multiple, ppl, share } from "./cells.ts";

export function qualitySection(data: ReportData, figures: Figures): Section | null {
  return section("quality", "Quality", [
    row(figures, "texts", "layer-error"),
    textTable(data),
    ...(taskTable(data) === null
      ? [row(figures, "held-out", heldOutTable(data))]
      : [row(figures, "tasks", "held-out"), taskTable(data), heldOutTable(data)]),
    data.evaluation === null ? hint(data) : null,
  ]);
}

function hint({ heldOut, record }: ReportData): Html {
  const measured =
    heldOut.length === 0 ? "Nothing was measured." : "Held-out windows come from the calibration texts.";
  const [out, model] = [outputOf(record), record.base].map(shellWord);
  return html`<p class="aside">${measured} <code>gprune eval ${out!} --text NAME=FILE --tasks NAME=FILE --baseline ${model!} --save</code> measures other texts and tasks and adds them here.</p>`;
}

function heldOutTable({ heldOut, record }: ReportData): Html | null {
  if (heldOut.length === 0) return null;
  const rows = heldOut.map(({ name, dense, pruned, ratio }, index): readonly Cell[] => [
    name,
    ppl(dense),
    ppl(pruned),
    multiple(ratio),
    count(record.held_out[index]!.windows),
  ]);
  return table({
    caption: "Perplexity on held-out calibration text",
    columns: [{ title: "Set" }, ...numbers(["Dense", "Pruned", "Ratio", "Windows"])],
    rows,
  });
}

function textTable({ evaluation }: ReportData): Html | null {
  if (evaluation === null || evaluation.texts.length === 0) return null;
  const columns = ["Baseline", "Pruned", "Ratio", "Loss", "KL", "Same token", "Windows"];
  return table({
    caption: `Evaluation texts, windows of ${evaluation.seq_len} tokens${evaluation.settings.texts?.bos ? " from BOS on" : ""}; baseline ${evaluation.baseline ?? "none"}`,
    columns: [{ title: "Text" }, ...numbers(columns)],
    rows: evaluation.texts.map(textRow),
  });
}

function textRow({ name, ppl: own, baseline, divergence, windows }: SavedText): readonly Cell[] {
  const ratio = baseline === null ? null : own / baseline;
  const rise = baseline === null ? null : Math.log(own / baseline);
  return [
    name,
    ppl(baseline),
    ppl(own),
    multiple(ratio),
    rise === null ? null : { text: `${rise < 0 ? "" : "+"}${rise.toFixed(3)}`, value: rise },
    decimal(divergence?.kl, 3),
    share(divergence?.agreement),
    count(windows),
  ];
}

function taskTable({ evaluation }: ReportData): Html | null {
  if (evaluation === null || evaluation.tasks.length === 0) return null;
  return table({
    caption: `Accuracy on tasks, with standard errors${howAsked(evaluation.settings.tasks)}`,
    columns: [
      { title: "Task" },
      ...numbers(["baseline", "pruned"], "acc"),
      ...numbers(["baseline", "pruned"], "acc_norm"),
      ...numbers(["Documents"]),
    ],
    rows: evaluation.tasks.map(({ name, n, baseline, ...own }) => [
      name,
      accuracy(baseline, "acc"),
      accuracy(own, "acc"),
      accuracy(baseline, "acc_norm"),
      accuracy(own, "acc_norm"),
      count(n),
    ]),
  });
}

/** Shots and chat format of the questions, for a caption; empty for plain zero-shot texts. */
function howAsked(settings: SavedSettings["tasks"]): string {
  const { num_fewshot: shots = 0, chat = false } = settings ?? {};
  const after = shots ? `, with ${shots} few-shot ${shots === 1 ? "example" : "examples"}` : "";
  return `${after}${chat ? ", as chat messages" : ""}`;
}
