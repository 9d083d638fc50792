/** The page that sets several runs beside each other. */
import { comparisonPictures } from "./charts/comparison.ts";
import { type Cell, row, section, table } from "./elements.ts";
import { type Facts, factsOf, meanQuality, type Quality, type RunFiles } from "./facts.ts";
import { figuresOf } from "./figures.ts";
import { bytes, duration, percent, perplexity, short, times } from "./format.ts";
import { type Html, html } from "./html.ts";
import { pageText } from "./page.ts";
import { type NamedFacts, referenceOf } from "./references.ts";
import { day, methodSentence } from "./sections/summary.ts";
import { sharedHeldOut } from "./shared_texts.ts";
import { shortName } from "./text.ts";

/** Runs side by side as one HTML file. @param runs - at least two; equal names are numbered */
export async function renderComparison(runs: readonly RunFiles[]): Promise<string> {
  const named = withNames(runs.map(factsOf));
  const figures = await figuresOf(comparisonPictures(named));
  const sections = [
    section("numbers", "In numbers", [runTable(named)]),
    section("quality", "How they do", [
      row(figures, "compare-held-out", "compare-texts"),
      qualityTable(named, "heldOut", "Held-out calibration text"),
      qualityTable(named, "texts", "Evaluation texts"),
    ]),
    section("shape", "What is left", [row(figures, "compare-sparsity", "compare-ffn")]),
  ];
  return pageText({
    title: `gprune: ${named.map(({ name }) => name).join(", ")}`,
    header: head(named),
    sections: sections.filter((part) => part !== null),
  });
}

function withNames(runs: readonly Facts[]): readonly NamedFacts[] {
  const names = runs.map(({ record }) => record.name);
  return runs.map((facts, index) => {
    const name = names[index]!;
    const twins = names.filter((other) => other === name).length;
    const number = names.slice(0, index + 1).filter((other) => other === name).length;
    return { name: twins > 1 ? `${name} (${number})` : name, facts };
  });
}

function head(runs: readonly NamedFacts[]): Html {
  const bases = new Set(runs.map(({ facts }) => shortName(facts.record.base)));
  const smallest = runs.toSorted(
    (a, b) => a.facts.record.parameters.after - b.facts.record.parameters.after,
  )[0]!;
  return html`<header>
<p class="kicker">Comparison of ${runs.length} pruning runs</p>
<h1>${[...bases].join(", ")}</h1>
<ul class="findings">
<li>Smallest: ${smallest.name} with ${short(smallest.facts.record.parameters.after)} parameters.</li>
${bestOf(runs)}
</ul>
</header>`;
}

/** The run that lost least on the held-out texts that all runs which have some have; null where there is nothing to compare. */
function bestOf(runs: readonly NamedFacts[]): Html | null {
  const measured = runs.filter(({ facts }) => facts.heldOut.length > 0);
  if (measured.length < 2) return null;
  const shared = sharedHeldOut(measured.map(({ facts }) => facts));
  if (shared.length === 0) {
    return html`<li>No run is the best on held-out text: the texts differ from run to run.</li>`;
  }
  const compared = measured.map(({ name, facts }) => {
    return { run: name, ...meanQuality(facts.heldOut.filter((text) => shared.includes(text.name))) };
  });
  const best = compared.toSorted((a, b) => a.ratio - b.ratio)[0]!;
  const isAll = measured.every(({ facts }) => facts.heldOut.length === shared.length);
  const which = isAll ? "" : ` that is the same in all runs (${shared.join(", ")})`;
  return html`<li>Best beside its dense model on held-out text${which}: ${best.run}, perplexity ${times(best.ratio)}.</li>`;
}

function runTable(runs: readonly NamedFacts[]): Html {
  const columns = [
    "Removed",
    "FFN",
    "Attention",
    "Parameters",
    "Held-out perplexity",
    "Ratio",
    "Time",
    "Memory",
  ];
  return table({
    caption: "Runs",
    columns: [
      { title: "Run" },
      ...columns.map((title) => ({ title, numeric: true })),
      { title: "Made" },
      { title: "How" },
    ],
    rows: runs.map(({ name, facts }): readonly Cell[] => {
      const { record, removed, heldOut } = facts;
      const mean = heldOut.length === 0 ? null : meanQuality(heldOut);
      const seconds = record.timings.reduce((sum, timing) => sum + timing.seconds, 0);
      return [
        name,
        { text: percent(record.sparsity.achieved), value: record.sparsity.achieved },
        { text: percent(removed.ffn), value: removed.ffn },
        { text: percent(removed.kv), value: removed.kv },
        { text: short(record.parameters.after), value: record.parameters.after },
        mean && { text: perplexity(mean.pruned), value: mean.pruned },
        mean && { text: times(mean.ratio), value: mean.ratio },
        { text: duration(seconds), value: seconds },
        { text: bytes(record.peak_rss_bytes), value: record.peak_rss_bytes },
        day(record.started),
        methodSentence(facts),
      ];
    }),
  });
}

/** One row for each text that any of the runs has, two columns for each run. */
function qualityTable(runs: readonly NamedFacts[], which: "heldOut" | "texts", title: string): Html | null {
  const names = [...new Set(runs.flatMap(({ facts }) => facts[which].map(({ name }) => name)))];
  if (names.length === 0) return null;
  const cells = (found: Quality | undefined): readonly Cell[] =>
    found === undefined
      ? [null, null]
      : [
          { text: perplexity(found.pruned), value: found.pruned },
          { text: times(found.ratio), value: found.ratio },
        ];
  return table({
    caption: `${title}: perplexity, and times ${referenceOf(runs, which).whose}`,
    columns: [
      { title: "Text" },
      ...runs.flatMap(({ name }) => [name, "ratio"].map((title) => ({ title, numeric: true }))),
    ],
    rows: names.map((text) => [
      text,
      ...runs.flatMap(({ facts }) => cells(facts[which].find(({ name }) => name === text))),
    ]),
  });
}
