/** The sections on the plan's grounds: sensitivity, modules, verdicts, and the rounds that shared the budget. */
import type { ModuleExplanation, SpaceExplanation } from "../../gprune/explanation.ts";
import { RELIABILITY_THRESHOLD } from "../../gprune/reliability.ts";
import {
  type Cell,
  type Column,
  type Figures,
  numbers,
  row,
  type Section,
  section,
  table,
} from "../elements.ts";
import { whole, withMinus } from "../format.ts";
import { type Html, html } from "../html.ts";
import type { ReportData } from "../report_data.ts";
import { count, decimal, share, significant } from "./cells.ts";

export function whySection(data: ReportData, figures: Figures): Section | null {
  if (data.grounds.spaces.length === 0) return null;
  return section("why", "Why these units", [
    html`<p>The importance of every unit is measured on each calibration set separately. Units whose rank shifts between sets are <em>sensitive</em> (σ). Units that behave alike form a <em>module</em> and compete only within it. A module whose activation scores do not predict those of a held-out set is scored by its weights instead. Where the sets agree that the loss contradicts the scores (consensus, 0 to 1), units are ranked by their measured cost.</p>`,
    row(figures, "sensitivity", "sigma", "kendall", "sets", "profiles", "reliability"),
    moduleTable(data),
    spaceTable(data),
  ]);
}

export function courseSection(data: ReportData, figures: Figures): Section | null {
  return section("budget", "How the budget was allocated", [
    ...(figures.has("training") || roundColumns(data).length > MOST_BESIDE
      ? [row(figures, "rounds", "training"), roundTable(data)]
      : [row(figures, "rounds", roundTable(data))]),
    moveTable(data),
  ]);
}

/** Most columns of a table that fits beside a figure. */
const MOST_BESIDE = 6;

function moduleTable({ grounds }: ReportData): Html {
  const rows = grounds.spaces.flatMap((space) =>
    space.modules.map((module, index) => moduleRow(space, module, index)),
  );
  return table({
    caption: "Behaviour modules: units that compete with each other, and the metric that scores them",
    columns: [
      { title: "Module" },
      ...numbers(["Units", "Removed"]),
      ...numbers(["σ", "rank"], "Mean"),
      ...numbers(["r", "Quantile", "Consensus"]),
      { title: "Scored by" },
      { title: "Why" },
    ],
    rows,
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
    modules.length === 1 ? wholeSpaceReason(module) : sentence(module.reason),
  ];
}

/**
 * The reason for the verdict of a module that is a whole space. Its quantile is always 0.50, so a recorded reason that
 * says it scores high would mislead.
 */
function wholeSpaceReason({ r, verdict, reason }: ModuleExplanation): string {
  if (r === null || r >= RELIABILITY_THRESHOLD || verdict === "fallback") return sentence(reason);
  return `r = ${withMinus(r.toFixed(2))}, below ${RELIABILITY_THRESHOLD}, but a module that is a whole space never falls back.`;
}

/** A recorded reason as a sentence, without the verdict before it, which has its own column, and with minus signs. */
function sentence(reason: string): string {
  const text = reason.replace(/^Activation(?:-independent)? scores: /, "").replaceAll(/ -(?=\d)/g, " \u2212");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function spaceTable({ grounds }: ReportData): Html {
  return table({
    caption: "Spaces: how far the sets agree about their units (W: Kendall's)",
    columns: [
      { title: "Space" },
      ...numbers(["Units", "W"]),
      ...numbers(["mean", "median", "90 % below", "largest"], "σ"),
      ...numbers(["Modules"]),
      { title: "Why this number" },
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
  });
}

function isWeighted({ grounds: { rounds } }: ReportData): boolean {
  return rounds.some(({ weights }) => new Set(Object.values(weights)).size > 1);
}

function roundColumns(data: ReportData): readonly Column[] {
  const { roundSets } = data.grounds;
  return [
    ...numbers(["Round", "Removed"]),
    ...numbers(roundSets, "Loss of"),
    ...(isWeighted(data) ? numbers(roundSets, "Weight of") : []),
  ];
}

function roundTable(data: ReportData): Html | null {
  const { rounds, roundSets } = data.grounds;
  if (rounds.length === 0) return null;
  const weighted = isWeighted(data);
  return table({
    caption: weighted
      ? "Rounds: share removed after each, and every set's loss before it (nats per token) and weight"
      : "Rounds: share removed after each, and every set's loss before it (nats per token)",
    columns: roundColumns(data),
    rows: rounds.map(({ sparsity, losses, weights }, index) => [
      `${index + 1}`,
      share(sparsity),
      ...roundSets.map((set) => decimal(losses[set], 3)),
      ...(weighted ? roundSets.map((set) => decimal(weights[set])) : []),
    ]),
  });
}

function moveTable({ grounds: { moves } }: ReportData): Html | null {
  if (moves.length === 0) return null;
  return table({
    caption:
      "Refinement on the refitted model: changes of width, the loss that a million more parameters would save (nats), and exchanged neurons",
    columns: [{ title: "Space" }, ...numbers(["Units", "Moved to", "By", "Worth", "Exchanged"])],
    rows: moves.map(({ space, from, to, worth, exchanged }) => [
      space,
      count(from),
      count(to),
      { text: `${to > from ? "+" : ""}${whole(to - from)}`, value: to - from },
      significant(worth),
      count(exchanged),
    ]),
  });
}
