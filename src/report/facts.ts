/** What a report is made of: the files of a run, and what follows from them. */
import { normalize } from "node:path";
import { isSameWeights } from "../model/checkpoint/model_hashes.ts";
import type { SpaceKind } from "../model/spaces.ts";
import type { PruningPlan } from "../prune/plan.ts";
import type { TrainingStep } from "../recover/training_state.ts";
import { type Explained, explained } from "./explained.ts";
import { geometricMean } from "./format.ts";
import type { RunRecord } from "./run_record.ts";
import type { SavedEvaluation } from "./saved_evaluation.ts";
import { shortName } from "./text.ts";

/** The files of a run, read. */
export interface RunFiles {
  readonly record: RunRecord;
  readonly plan: PruningPlan | null;
  /** What `gprune eval --save` measured. */
  readonly evaluation: SavedEvaluation | null;
  /** The loss curve of a distillation. */
  readonly curve: readonly TrainingStep[] | null;
  /**
   * SHA-256 of the weights of the model that was pruned, as of the evaluation's baseline; absent or null when it is not
   * known.
   */
  readonly baseHash?: string | null | undefined;
  /** Where they were read. */
  readonly directory?: string | undefined;
}

/** Units of one kind in one layer. */
export interface SpaceFacts {
  readonly before: number;
  readonly after: number;
  /** Fraction of the units that is gone. */
  readonly removed: number;
}

export interface LayerFacts {
  readonly layer: number;
  readonly ffn: SpaceFacts;
  readonly kv: SpaceFacts;
  /** Fraction of the layer's prunable parameters that is gone. */
  readonly removed: number;
}

/** A perplexity before and after. */
export interface Quality {
  readonly name: string;
  readonly dense: number;
  readonly pruned: number;
  readonly ratio: number;
}

export interface Facts extends RunFiles {
  readonly layers: readonly LayerFacts[];
  /** Fraction of the prunable parameters of a kind that is gone. */
  readonly removed: { readonly ffn: number; readonly kv: number };
  readonly grounds: Explained;
  /** Unused windows of the calibration texts. */
  readonly heldOut: readonly Quality[];
  /** Texts of the evaluation that have a baseline. */
  readonly texts: readonly Quality[];
  /** Baseline of the evaluation when it is another model than the one that was pruned; else null. */
  readonly otherBaseline: string | null;
}

export function factsOf(files: RunFiles): Facts {
  const { record, plan, evaluation } = files;
  return {
    ...files,
    layers: layerFacts(record),
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

/** What an evaluation is compared with, in a sentence: `the dense model`, or another baseline's name. */
export function baselineWords({ otherBaseline }: Pick<Facts, "otherBaseline">): string {
  return otherBaseline === null ? "the dense model" : shortName(otherBaseline);
}

/** The same in a legend: `dense`, or `baseline`. */
export function baselineLabel({ otherBaseline }: Pick<Facts, "otherBaseline">): string {
  return otherBaseline === null ? "dense" : "baseline";
}

/** Whether two paths or addresses are the same as they are written, but for `./` and the last slash. */
export function isSamePath(a: string, b: string): boolean {
  const plain = (path: string): string => normalize(path).replace(/[\\/]$/, "");
  return plain(a) === plain(b);
}

/** Whether the run was given its plan and decided nothing. */
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

/** A baseline that is not the model that was pruned: by the weights, or by name where one of them is not known. */
function otherBaselineOf({ record, evaluation, baseHash }: RunFiles): string | null {
  const baseline = evaluation?.baseline ?? null;
  if (baseline === null) return null;
  const isBase = isSameWeights(evaluation?.baseline_sha256, baseHash) ?? isSamePath(baseline, record.base);
  return isBase ? null : baseline;
}

function quality(name: string, dense: number, pruned: number): Quality {
  return { name, dense, pruned, ratio: pruned / dense };
}

function layerFacts({ widths, unit_parameters: cost }: RunRecord): readonly LayerFacts[] {
  return widths.before.ffn.map((_, layer) => {
    const space = (kind: SpaceKind): SpaceFacts => {
      const [before, after] = [widths.before[kind][layer]!, widths.after[kind][layer]!];
      return { before, after, removed: 1 - after / before };
    };
    const [ffn, kv] = [space("ffn"), space("kv")];
    const [ffnCost, kvCost] = [cost.ffn[layer]!, cost.kv[layer]!];
    const all = ffn.before * ffnCost + kv.before * kvCost;
    return { layer, ffn, kv, removed: 1 - (ffn.after * ffnCost + kv.after * kvCost) / all };
  });
}

function removedOf({ widths, unit_parameters: cost }: RunRecord, kind: SpaceKind): number {
  const total = (all: readonly number[]): number =>
    all.reduce((sum, units, layer) => sum + units * cost[kind][layer]!, 0);
  return 1 - total(widths.after[kind]) / total(widths.before[kind]);
}
