/** The page that sets several runs beside each other. */
import { badArgument } from "../base/arguments.ts";
import { namesText } from "../base/lists.ts";
import { comparisonPictures } from "./charts/comparison.ts";
import { row, section } from "./elements.ts";
import { figuresOf } from "./figures.ts";
import { short, times } from "./format.ts";
import { type Html, html } from "./html.ts";
import { pageText } from "./page.ts";
import { type NamedRun, referenceOf } from "./references.ts";
import { meanQuality, type RunFiles, reportData } from "./report_data.ts";
import { runNames } from "./run_names.ts";
import { comparedQuality, comparedRuns, comparedTasks, comparedWays } from "./sections/compared.ts";
import { sharedTexts, type TextKind } from "./shared_texts.ts";
import { shortName } from "./text.ts";

/**
 * Renders the comparison as one HTML file.
 * @param runs - at least two; their names come from their directories
 * @throws GpruneError BAD_ARGUMENT for fewer runs
 */
export async function renderComparison(runs: readonly RunFiles[]): Promise<string> {
  if (runs.length < 2) throw badArgument("runs", "at least two", runs.length);
  const names = runNames(runs);
  const named = runs.map((files, index) => ({ name: names[index]!, data: reportData(files) }));
  const figures = await figuresOf(comparisonPictures(named));
  const sections = [
    section("numbers", "In numbers", [comparedRuns(named), comparedWays(named)]),
    section("quality", "Quality", [
      row(figures, "compare-texts", "compare-tasks", "compare-held-out"),
      comparedQuality(named, "texts"),
      comparedTasks(named),
      comparedQuality(named, "heldOut"),
    ]),
    section("shape", "What remains", [row(figures, "compare-sparsity", "compare-ffn")]),
  ];
  return pageText({
    title: `gprune: ${names.join(", ")}`,
    header: head(named),
    sections: sections.filter((part) => part !== null),
  });
}

function head(runs: readonly NamedRun[]): Html {
  const bases = new Set(runs.map(({ data }) => shortName(data.record.base)));
  const parameters = ({ data }: NamedRun): number => data.record.parameters.after;
  const fewest = Math.min(...runs.map(parameters));
  const smallest = runs.filter((run) => parameters(run) === fewest).map(({ name }) => name);
  return html`<header>
<p class="kicker">Comparison of ${runs.length} pruning runs</p>
<h1>${[...bases].join(", ")}</h1>
<ul class="findings">
<li>Smallest: ${smallest.join(", ")} with ${short(fewest)} parameters.</li>
${bestOf(runs, "texts")}
${bestOf(runs, "heldOut")}
</ul>
</header>`;
}

const KINDS = { texts: "evaluation texts", heldOut: "held-out text" } as const;

/** The run with the lowest ratio on the texts that all measured runs share; null for fewer than two measured runs. */
function bestOf(runs: readonly NamedRun[], which: TextKind): Html | null {
  const measured = runs.filter(({ data }) => data[which].length > 0);
  if (measured.length < 2) return null;
  const { names, others } = sharedTexts(measured, which);
  if (names.length === 0) {
    return html`<li>No best run on ${KINDS[which]}, since no text is certain to be the same in all runs: ${others}.</li>`;
  }
  const compared = measured.map(({ name, data }) => {
    return { run: name, ...meanQuality(data[which].filter((text) => names.includes(text.name))) };
  });
  const lowest = Math.min(...compared.map(({ ratio }) => ratio));
  const best = compared.filter(({ ratio }) => ratio === lowest).map(({ run }) => run);
  const limits =
    others === null
      ? ""
      : ` that ${which === "texts" ? "are" : "is"} the same in all runs (${namesText(names)})`;
  const missing = measured.length === runs.length ? "" : ` of ${measured.map(({ name }) => name).join(", ")}`;
  return html`<li>Best${missing} relative to ${besideWhom(measured, which)} on ${KINDS[which]}${limits}: ${best.join(", ")}, perplexity ${times(lowest)}.</li>`;
}

function besideWhom(runs: readonly NamedRun[], which: TextKind): string {
  const { isDense, name } = referenceOf(runs, which);
  return isDense ? "the dense model" : (name ?? "its baseline");
}
