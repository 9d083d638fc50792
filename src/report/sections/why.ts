/** Why units went: sensitivity, modules, verdicts, and the rounds that shared the budget. */
import type { ModuleExplanation, SpaceExplanation } from "../../gprune/explanation.ts";
import { type Cell, type Column, type Figures, row, type Section, section, table } from "../elements.ts";
import type { Facts } from "../facts.ts";
import { whole } from "../format.ts";
import { type Html, html } from "../html.ts";
import { count, decimal, share, significant } from "./shape.ts";

export function whySection(facts: Facts, figures: Figures): Section | null {
  if (facts.grounds.spaces.length === 0) return null;
  return section("why", "Why these units", [
    html`<p>A unit's importance is measured on every calibration set alone. Units whose rank moves from set to set are <em>sensitive</em> (σ); units that behave alike form a <em>module</em> and compete only inside it; a module whose activation scores do not hold on a set left out is scored by the weights instead. Where the sets agree that the loss says otherwise than the scores (consensus, 0 to 1), units are ranked by what they were seen to cost.</p>`,
    row(figures, "sensitivity", "sigma", "kendall", "sets", "profiles", "reliability"),
    moduleTable(facts),
    spaceTable(facts),
  ]);
}

export function courseSection(facts: Facts, figures: Figures): Section | null {
  return section("budget", "How the budget was shared", [
    ...(figures.has("training")
      ? [row(figures, "rounds", "training"), roundTable(facts)]
      : [row(figures, "rounds", roundTable(facts))]),
    moveTable(facts),
  ]);
}

const numeric = (title: string): Column => ({ title, numeric: true });

function moduleTable({ grounds }: Facts): Html {
  const rows = grounds.spaces.flatMap((space) =>
    space.modules.map((module, index) => moduleRow(space, module, index)),
  );
  return table({
    caption: "Behaviour modules: who competed with whom, scored by what",
    columns: [
      { title: "Module" },
      numeric("Units"),
      numeric("Removed"),
      numeric("Mean σ"),
      numeric("Mean rank"),
      numeric("r"),
      numeric("Quantile"),
      numeric("Consensus"),
      { title: "Scored by" },
      { title: "Why" },
    ],
    rows,
    long: rows.length > 16,
  });
}

function moduleRow(
  { space, modules }: SpaceExplanation,
  module: ModuleExplanation,
  index: number,
): readonly Cell[] {
  const fell = module.verdict === "fallback";
  return [
    modules.length === 1 ? space : `${space}, ${index + 1} of ${modules.length}`,
    count(module.size),
    share(1 - module.kept / module.size),
    decimal(module.meanSigma, 3),
    decimal(module.meanRank),
    decimal(module.r),
    decimal(module.magnitude),
    decimal(module.consensus),
    { text: fell ? "weights" : "activations", value: Number(fell), mark: fell ? "loss" : "" },
    sentence(module.reason),
  ];
}

/** A reason without the verdict in front of it, which has a column of its own. */
function sentence(reason: string): string {
  const rest = reason.replace(/^Activation(?:-independent)? scores: /, "");
  return rest.charAt(0).toUpperCase() + rest.slice(1);
}

function spaceTable({ grounds }: Facts): Html {
  return table({
    caption: "Spaces: how far the sets agree about their units",
    columns: [
      { title: "Space" },
      ...["Units", "Kendall's W", "Mean σ", "Median σ", "90 % below", "Largest σ", "Modules"].map(numeric),
      { title: "Why as many" },
    ],
    rows: grounds.spaces.map((space) => [
      space.space,
      count(space.units),
      decimal(space.kendallW),
      decimal(space.meanSigma, 3),
      decimal(space.sigmaQuantiles.p50, 3),
      decimal(space.sigmaQuantiles.p90, 3),
      decimal(space.sigmaQuantiles.max, 3),
      count(space.modules.length),
      space.reason,
    ]),
    long: grounds.spaces.length > 16,
  });
}

function roundTable({ grounds: { rounds } }: Facts): Html | null {
  if (rounds.length === 0) return null;
  const sets = Object.keys(rounds[0]!.losses);
  const weighted = rounds.some(({ weights }) => new Set(Object.values(weights)).size > 1);
  return table({
    caption: weighted
      ? "Rounds: removed after each, loss of every set before it in nats per token, and how much the set counted"
      : "Rounds: removed after each, and loss of every set before it, nats per token",
    columns: [
      numeric("Round"),
      numeric("Removed"),
      ...sets.map(numeric),
      ...(weighted ? sets.map((set) => numeric(`weight of ${set}`)) : []),
    ],
    rows: rounds.map(({ sparsity, losses, weights }, index) => [
      `${index + 1}`,
      share(sparsity),
      ...sets.map((set) => decimal(losses[set], 3)),
      ...(weighted ? sets.map((set) => decimal(weights[set])) : []),
    ]),
  });
}

function moveTable({ grounds: { moves } }: Facts): Html | null {
  if (moves.length === 0) return null;
  return table({
    caption:
      "After learning, asked of the refitted model: widths, by what a million parameters more are worth (nats), and neurons exchanged for others",
    columns: [{ title: "Space" }, ...["Units", "Moved to", "By", "Worth", "Exchanged"].map(numeric)],
    rows: moves.map(({ space, from, to, worth, exchanged }) => [
      space,
      count(from),
      count(to),
      { text: `${to > from ? "+" : ""}${whole(to - from)}`, value: to - from },
      significant(worth),
      exchanged === undefined ? null : count(exchanged),
    ]),
    long: moves.length > 16,
  });
}
