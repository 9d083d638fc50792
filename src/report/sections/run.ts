/** The run itself: what it was given, what it took, who loads the result. */
import { type Cell, definitions, type Figures, type Section, section, table } from "../elements.ts";
import type { Facts } from "../facts.ts";
import { bytes, whole } from "../format.ts";
import { type Html, html } from "../html.ts";
import { count } from "./shape.ts";

export function runSection(facts: Facts, figures: Figures): Section | null {
  const { record } = facts;
  return section("run", "The run", [
    html`<div class="figures">${figures.get("timings") ?? null}<div class="facts"><h3>Given</h3>${given(facts)}</div><div class="facts"><h3>Who loads the result</h3>${definitions(
      record.runtimes.map(({ program, answer }) => [program, answer]),
    )}</div></div>`,
    calibrationTable(facts),
    html`<p class="aside"><code>gprune prune --config gprune.yaml</code> runs it again; <code>gprune prune MODEL --plan plan.json</code> carries out the same plan. ${record.versions.map(({ name, version }, index) => `${index === 0 ? "" : ", "}${name} ${version}`)}.</p>`,
  ]);
}

/** Settings that the report shows elsewhere. */
const SHOWN_ELSEWHERE = new Set(["calibration", "model", "output", "sparsity", "report"]);

function given({ record }: Facts): Html {
  const settings = Object.entries(record.settings).filter(([name, value]) => {
    return !SHOWN_ELSEWHERE.has(name) && value !== null && typeof value !== "object";
  });
  return definitions([
    ["model", record.base],
    ["family", `${record.family}, ${record.dtype}`],
    ...settings.map(([name, value]) => [name, `${value as string | number | boolean}`] as const),
    ["calibration speed", `${whole(Math.round(record.tokens_per_second))} tokens/s`],
    ["peak memory", bytes(record.peak_rss_bytes)],
  ]);
}

function calibrationTable({ record }: Facts): Html | null {
  if (record.calibration.length === 0) return null;
  return table({
    caption: "Calibration sets",
    columns: [
      { title: "Set" },
      { title: "Windows", numeric: true },
      { title: "Tokens", numeric: true },
      { title: "Weight", numeric: true },
      { title: "Read from" },
    ],
    rows: record.calibration.map(({ name, windows, tokens, weight, path }): readonly Cell[] => [
      name,
      count(windows),
      count(tokens),
      { text: `${weight}`, value: weight },
      html`<code>${path}</code>`,
    ]),
  });
}
