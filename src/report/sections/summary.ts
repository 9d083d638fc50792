/** The top of a report: what a person should know after ten seconds. */
import { namesText } from "../../base/lists.ts";
import { largestBy, smallestBy } from "../../tensor/statistics.ts";
import { deepestLayers } from "../charts/shape.ts";
import { bytes, duration, percent, perplexity, short, times, UNIT, whole } from "../format.ts";
import { type Html, html } from "../html.ts";
import {
  baselineWords,
  hasGivenPlan,
  type LayerChange,
  meanQuality,
  type Quality,
  type ReportData,
} from "../report_data.ts";
import { shortName } from "../text.ts";

/** The header of a report: the model's name, the result in a sentence, cards of numbers, a warning, and findings. */
export function header(data: ReportData): Html {
  const { record } = data;
  const version = record.versions.find(({ name }) => name === "gprune")?.version ?? "";
  return html`<header>
<p class="kicker">Pruning report <span>gprune ${version}</span> <time datetime="${record.started}">${moment(record.started, "long")}</time></p>
<h1>${shortName(record.base)}</h1>
<p class="lead">${percent(record.sparsity.achieved)} of the attention and FFN parameters removed. ${methodSentence(data)}</p>
<ul class="cards">${cards(data)}</ul>
${guessWarning(data)}
${findings(data)}
</header>`;
}

const MONTHS = "January February March April May June July August September October November December".split(
  " ",
);

/** `24 Nov 2026, 13:05 UTC` without line breaks, or with the full name of the month; no time zone is converted. */
export function moment(iso: string, month: "short" | "long" = "short"): string {
  const [year, number, date] = iso.slice(0, 10).split("-").map(Number);
  const name = MONTHS[number! - 1] ?? "";
  const day = [date, month === "short" ? name.slice(0, 3) : name, `${year},`, iso.slice(11, 16)];
  return [...day, ...(iso.endsWith("Z") ? ["UTC"] : [])].join(UNIT);
}

/** A warning where the dense model was worse than guessing, so that ratios mean nothing. */
function guessWarning({ record, heldOut, texts, otherBaseline }: ReportData): Html | null {
  const { vocab_size: words } = record;
  if (words === undefined) return null;
  const measured = [...(otherBaseline === null ? texts : []), ...heldOut];
  const names = measured.flatMap(({ name, dense }) => (dense > words ? [name] : []));
  if (names.length === 0) return null;
  return html`<p class="warning">On ${namesText([...new Set(names)])} the model's perplexity before pruning is above ${whole(words)}, the size of its vocabulary: worse than guessing. What pruning does to such texts says nothing about the model.</p>`;
}

const RECOVERIES: Readonly<Record<string, string>> = {
  none: "nothing recovered",
  bias: "means of removed units added as biases",
  lstsq: "output projections refitted by least squares",
  distill: "then trained on the dense model's answers",
};

/** The method that made the plan, and the recovery, as a sentence. */
export function methodSentence(data: Pick<ReportData, "record">): string {
  const { method, metric, allocation, recover } = data.record.settings;
  const decided = hasGivenPlan(data.record)
    ? "A given plan was applied"
    : method === "gprune"
      ? `GPrune on ${metric}, ${allocation} allocation`
      : `Metric ${metric}, ${allocation} allocation`;
  return `${decided}; ${RECOVERIES[`${recover}`] ?? `recovery ${recover}`}.`;
}

function cards(data: ReportData): readonly Html[] {
  const { record, removed, heldOut, texts } = data;
  const { asked, achieved } = record.sparsity;
  const { before, after } = record.parameters;
  const rows = texts.length > 0 ? texts : heldOut;
  const seconds = record.timings.reduce((sum, timing) => sum + timing.seconds, 0);
  return [
    card({
      label: "Removed",
      value: percent(achieved),
      note: `${hasGivenPlan(record) ? "a given plan" : `asked ${percent(asked)}`}; FFN ${percent(removed.ffn)}, attention ${percent(removed.kv)}`,
    }),
    card({
      label: "Parameters",
      value: short(after),
      note: `of ${short(before)}, ${percent(1 - after / before)} fewer`,
    }),
    ...(rows.length === 0
      ? []
      : qualityCards(rows, texts.length > 0 ? `evaluation texts${against(data)}` : "held-out texts")),
    card({
      label: "Run",
      value: duration(seconds),
      note: `${bytes(record.peak_rss_bytes)} of memory at most`,
    }),
  ];
}

function qualityCards(rows: readonly Quality[], what: string): readonly Html[] {
  const mean = meanQuality(rows);
  const worst = mostHarmed(rows);
  const change = ({ dense, pruned }: Quality): string => `${perplexity(dense)} → ${perplexity(pruned)}`;
  const cards = [
    card({
      label: "Perplexity",
      value: times(mean.ratio),
      note: `${change(mean)}, ${rows.length === 1 ? `on ${rows[0]!.name}` : `geometric mean of ${rows.length} ${what}`}`,
      mark: mean.ratio > 1.005 ? "loss" : "",
    }),
  ];
  if (new Set(rows.map(({ ratio }) => ratio)).size > 1) {
    const note = `${times(worst.ratio)}: ${change(worst)}`;
    cards.push(card({ label: worst.ratio > 1 ? "Hit hardest" : "Gained least", value: worst.name, note }));
  }
  return cards;
}

interface Card {
  readonly label: string;
  readonly value: string;
  readonly note: string;
  /** `loss` for bad news. */
  readonly mark?: string;
}

function card({ label, value, note, mark = "" }: Card): Html {
  return html`<li><span class="label">${label}</span><strong class="value ${mark}">${value}</strong><span class="note">${note}</span></li>`;
}

function mostHarmed(rows: readonly Quality[]): Quality {
  return largestBy(rows, ({ ratio }) => ratio);
}

/** The most notable results, in sentences. */
function findings(data: ReportData): Html {
  const sentences = [
    qualityFinding(data),
    agreementFinding(data),
    shapeFinding(data),
    trustFinding(data),
  ].filter((sentence) => sentence !== null);
  return html`<ul class="findings">${sentences.map((sentence) => html`<li>${sentence}</li>`)}</ul>`;
}

/** ` against NAME` where the baseline is not the run's base model. */
function against(data: ReportData): string {
  return data.otherBaseline === null ? "" : ` against ${baselineWords(data)}`;
}

function qualityFinding(data: ReportData): string | null {
  const { heldOut, texts } = data;
  const rows = texts.length > 0 ? texts : heldOut;
  if (rows.length < 2) return null;
  const worst = mostHarmed(rows);
  const best = smallestBy(rows, ({ ratio }) => ratio);
  const beside = texts.length > 0 ? against(data) : "";
  if (worst.ratio === best.ratio) {
    return `Perplexity is ${times(worst.ratio)}${beside} on all ${rows.length} texts.`;
  }
  const [most, least] =
    worst.ratio < 1 ? ["falls least", "most"] : ["rises most", best.ratio < 1 ? "falls most" : "least"];
  return `Perplexity ${most}${beside} on ${worst.name} (${times(worst.ratio)}) and ${least} on ${best.name} (${times(best.ratio)}).`;
}

function agreementFinding(data: ReportData): string | null {
  const known = (data.evaluation?.texts ?? []).flatMap(({ divergence }) => divergence ?? []);
  if (known.length === 0) return null;
  const mean = (of: (one: (typeof known)[number]) => number): number =>
    known.reduce((sum, one) => sum + of(one), 0) / known.length;
  return (
    `The most probable next token is ${baselineWords(data)}'s in ${percent(mean(({ agreement }) => agreement))} of the cases; ` +
    `KL ${mean(({ kl }) => kl).toFixed(3)} nats per token.`
  );
}

function shapeFinding({ layers }: ReportData): string {
  const sorted = deepestLayers(layers, layers.length);
  const [shallowest, ...others] = sorted.toReversed() as [LayerChange, ...LayerChange[]];
  if (sorted[0]!.removed === 0) return "Nothing is removed from any layer.";
  if (sorted[0]!.removed - shallowest.removed < 0.02)
    return "About the same share is removed from every layer.";
  // Neither the least pruned layer nor one that loses nothing is listed among the deepest.
  const deepest = sorted.slice(0, Math.min(3, others.length)).filter(({ removed }) => removed > 0);
  const list = deepest.map(({ layer, removed }) => `${layer} (${percent(removed, 0)})`).join(", ");
  return `Layers cut deepest: ${list}. Least: layer ${shallowest.layer} (${percent(shallowest.removed, 0)}).`;
}

function trustFinding({ grounds }: ReportData): string | null {
  const modules = grounds.spaces.flatMap((space) => space.modules);
  if (modules.length === 0) return null;
  const fallen = modules.filter(({ verdict }) => verdict === "fallback");
  const several = grounds.spaces.filter((space) => space.modules.length > 1).length;
  const grouped =
    several === 0
      ? "Units behave alike enough that every space is one module"
      : `${several} of ${grounds.spaces.length} spaces ${several === 1 ? "splits" : "split"} into behaviour modules, ${modules.length} modules in all`;
  const trusted =
    fallen.length === 0
      ? "and all of them keep their activation scores."
      : `and ${fallen.length} ${fallen.length === 1 ? "is" : "are"} scored by the weights, because activation scores do not hold there.`;
  return `${grouped}, ${trusted}`;
}
