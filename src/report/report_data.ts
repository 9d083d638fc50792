/** The data that a report shows: the contents of a run's files, and quantities derived from them. */
import { normalize } from "node:path";
import { isSameWeights } from "../model/checkpoint/model_hashes.ts";
import type { SpaceKind } from "../model/weights.ts";
import type { PruningPlan } from "../prune/plan.ts";
import type { TrainingStep } from "../recover/training_state.ts";
import { type Explained, explained } from "./explained.ts";
import { geometricMean } from "./format.ts";
import type { RunRecord } from "./run_record.ts";
import type { SavedEvaluation } from "./saved_evaluation.ts";
import { shortName } from "./text.ts";

/** Parsed contents of a run's files. */
export interface RunFiles {
  readonly record: RunRecord;
  readonly plan: PruningPlan | null;
  /** Results of `gprune eval --save`. */
  readonly evaluation: SavedEvaluation | null;
  /** Loss curve of a distillation. */
  readonly curve: readonly TrainingStep[] | null;
  /** SHA-256 of the weights of the pruned model's base; absent or null when not known. */
  readonly baseHash?: string | null | undefined;
  /** The directory that they were read from. */
  readonly directory?: string | undefined;
}

/** Numbers of units of one kind in one layer. */
export interface SpaceChange {
  readonly before: number;
  readonly after: number;
  /** Fraction of the units that was removed. */
  readonly removed: number;
}

export interface LayerChange {
  readonly layer: number;
  readonly ffn: SpaceChange;
  readonly kv: SpaceChange;
  /** Fraction of the layer's prunable parameters that was removed. */
  readonly removed: number;
}

/** Perplexities on a text, or their means, before and after pruning. */
export interface Quality {
  readonly name: string;
  readonly dense: number;
  readonly pruned: number;
  readonly ratio: number;
}

export interface ReportData extends RunFiles {
  readonly layers: readonly LayerChange[];
  /** Fraction of the prunable parameters of each kind that was removed. */
  readonly removed: { readonly ffn: number; readonly kv: number };
  readonly grounds: Explained;
  /** On held-out windows of the calibration texts. */
  readonly heldOut: readonly Quality[];
  /** On texts of the evaluation that have a baseline. */
  readonly texts: readonly Quality[];
  /** The evaluation's baseline if it is not the base model of the run; else null. */
  readonly otherBaseline: string | null;
}

export function reportData(files: RunFiles): ReportData {
  const { record, plan, evaluation } = files;
  return {
    ...files,
    layers: layerChanges(record),
    removed: { ffn: removedOf(record, "ffn"), kv: removedOf(record, "kv") },
    grounds: explained(
      plan,
      record.calibration.map(({ name }) => name),
    ),
    heldOut: record.held_out.map(({ name, dense, pruned }) => quality(name, dense, pruned)),
    texts: (evaluation?.texts ?? []).flatMap(({ name, ppl, baseline }) =>
      baseline === null ? [] : [quality(name, baseline, ppl)],
    ),
    otherBaseline: otherBaselineOf(files),
  };
}

/** The evaluation's baseline in a sentence: `the dense model`, or another baseline's name. */
export function baselineWords({ otherBaseline }: Pick<ReportData, "otherBaseline">): string {
  return otherBaseline === null ? "the dense model" : shortName(otherBaseline);
}

/** The evaluation's baseline in a legend: `dense`, or `baseline`. */
export function baselineLabel({ otherBaseline }: Pick<ReportData, "otherBaseline">): string {
  return otherBaseline === null ? "dense" : "baseline";
}

/** Whether two paths or addresses are equal as text, apart from `./` and a trailing slash. */
export function isSamePath(a: string, b: string): boolean {
  const plain = (path: string): string => normalize(path).replace(/[\\/]$/, "");
  return plain(a) === plain(b);
}

/** Whether the run applied a given plan instead of making one. */
export function hasGivenPlan({
  settings,
}: {
  readonly settings: Readonly<Record<string, unknown>>;
}): boolean {
  return typeof settings.plan === "string";
}

/** Geometric means over texts. */
export function meanQuality(rows: readonly Quality[]): Quality {
  const [dense, pruned] = [rows.map((row) => row.dense), rows.map((row) => row.pruned)].map(geometricMean);
  return quality("geometric mean", dense!, pruned!);
}

/** A baseline other than the run's base model, by the hash of the weights or, where one is not known, by name. */
function otherBaselineOf({ record, evaluation, baseHash }: RunFiles): string | null {
  const baseline = evaluation?.baseline ?? null;
  if (baseline === null) return null;
  const isBase = isSameWeights(evaluation?.baseline_sha256, baseHash) ?? isSamePath(baseline, record.base);
  return isBase ? null : baseline;
}

function quality(name: string, dense: number, pruned: number): Quality {
  return { name, dense, pruned, ratio: pruned / dense };
}

function layerChanges({ widths, unit_parameters: cost }: RunRecord): readonly LayerChange[] {
  return widths.before.ffn.map((_, layer) => {
    const space = (kind: SpaceKind): SpaceChange => {
      const [before, after] = [widths.before[kind][layer]!, widths.after[kind][layer]!];
      return { before, after, removed: before === 0 ? 0 : 1 - after / before };
    };
    const [ffn, kv] = [space("ffn"), space("kv")];
    const [ffnCost, kvCost] = [cost.ffn[layer]!, cost.kv[layer]!];
    const total = ffn.before * ffnCost + kv.before * kvCost;
    const left = ffn.after * ffnCost + kv.after * kvCost;
    return { layer, ffn, kv, removed: total === 0 ? 0 : 1 - left / total };
  });
}

function removedOf({ widths, unit_parameters: cost }: RunRecord, kind: SpaceKind): number {
  const parameters = (units: readonly number[]): number =>
    units.reduce((sum, count, layer) => sum + count * cost[kind][layer]!, 0);
  const before = parameters(widths.before[kind]);
  return before === 0 ? 0 : 1 - parameters(widths.after[kind]) / before;
}
