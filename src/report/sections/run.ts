/** The section on the run itself: settings, time and memory, and which programs load the result. */

import { join } from "node:path";
import { RUN_FILES } from "../../base/file_names.ts";
import { shellWord } from "../../base/plain_text.ts";
import { isOwnText } from "../../calibrate/text_sets.ts";
import { DEFAULTS } from "../../config.ts";
import { type Cell, definitions, type Figures, row, type Section, section, table } from "../elements.ts";
import { bytes, percent, whole } from "../format.ts";
import { type Html, html } from "../html.ts";
import { hasGivenPlan, type ReportData } from "../report_data.ts";
import { outputOf } from "../run_record.ts";
import { count } from "./cells.ts";

export function runSection(data: ReportData, figures: Figures): Section | null {
  const { record } = data;
  const runtimes = definitions(record.runtimes.map(({ program, answer }) => [program, answer]));
  return section("run", "The run", [
    row(
      figures,
      html`<div class="stack">${figures.get("timings") ?? null}<div class="facts"><h3>Who loads the result</h3>${runtimes}</div></div>`,
      html`<div class="facts"><h3>Settings</h3>${given(data)}<p class="aside">Resolved values: some follow from the sets. Options not listed have their defaults or no effect in this run.</p></div>`,
    ),
    calibrationTable(data),
    again(record),
  ]);
}

/** Commands that repeat the run; they work in the directory it was started in, to which its paths are relative. */
function again(record: ReportData["record"]): Html {
  const output = outputOf(record).replace(/[\\/]+$/, "");
  const file = (name: string): string => shellWord(join(output, name));
  const to = (ending: string): string => shellWord(`${output}-${ending}`);
  const config = `gprune prune --config ${file(RUN_FILES.config)}`;
  const versions = record.versions.map(({ name, version }) => `${name} ${version}`).join(", ");
  return html`<p class="aside">Where the run was started, <code>${config} -o ${to("again")}</code> runs it again; <code>${config} --plan ${file(RUN_FILES.plan)} -o ${to("replay")}</code> applies the same plan without deciding again. ${versions}.</p>`;
}

/** Settings that the report shows elsewhere. */
const SHOWN_ELSEWHERE: readonly string[] = ["model", "output", "sparsity", "report"];

function given({ record }: ReportData): Html {
  const { recover, method } = record.settings;
  const hidden = new Set([
    ...SHOWN_ELSEWHERE,
    ...(recover === "distill" ? [] : ["steps", "learningRate"]),
    ...(recover === "distill" || recover === "lstsq" ? [] : ["refitSamples", "biases"]),
    ...(record.calibration.length + record.held_out.length > 0 ? [] : ["samples", "seqLen"]),
    ...(method === "gprune"
      ? []
      : ["rounds", "gradientWindows", "fallback", "maxModules", "robust", "refine"]),
  ]);
  const settings = Object.entries(record.settings).filter(([name, value]) => {
    return !hidden.has(name) && value !== DEFAULTS[name] && value !== null && typeof value !== "object";
  });
  return definitions([
    ["model", record.base],
    ["removed", removedBy(record)],
    ["family", `${record.family}, ${record.dtype}`],
    ...settings.map(([name, value]) => option(name, value as string | number | boolean)),
    ...speed(record),
    ["peak memory", bytes(record.peak_rss_bytes)],
  ]);
}

/** A setting as an option of the command line: `--seq-len` and its value, or the name alone for a switch. */
function option(name: string, value: string | number | boolean): readonly [Html, string] {
  const words = name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  const word = value === false ? `no-${words}` : words;
  return [html`<code>--${word}</code>`, typeof value === "boolean" ? "" : `${value}`];
}

function speed({ tokens_per_second: rate }: ReportData["record"]): readonly (readonly [string, string])[] {
  return rate === null ? [] : [["calibration speed", `${whole(Math.round(rate))} tokens/s`]];
}

function removedBy(record: ReportData["record"]): string {
  const { asked, achieved } = record.sparsity;
  return hasGivenPlan(record)
    ? `${percent(achieved, 2)}, by a given plan`
    : `${percent(asked, 2)} asked, ${percent(achieved, 2)} achieved`;
}

function calibrationTable({ record }: ReportData): Html | null {
  if (record.calibration.length === 0) return null;
  const refits = record.calibration.some(({ refit_windows: refit }) => refit !== undefined);
  return table({
    caption: "Calibration sets",
    columns: [
      { title: "Set" },
      { title: "Windows", numeric: true },
      { title: "Tokens", numeric: true },
      ...(refits ? [{ title: "Windows of least squares", numeric: true }] : []),
      { title: "Weight", numeric: true },
      { title: "Read from" },
    ],
    rows: record.calibration.map(({ name, windows, tokens, weight, path, ...set }): readonly Cell[] => [
      name,
      count(windows),
      count(tokens),
      ...(refits ? [count(set.refit_windows ?? 0)] : []),
      { text: `${Number(weight.toPrecision(6))}`, value: weight },
      isOwnText({ path }) ? "generated by the model" : html`<code>${path}</code>`,
    ]),
  });
}
