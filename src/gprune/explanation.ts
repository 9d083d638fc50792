/**
 * The reasons for a decision as a JSON value, a few numbers for each space whatever its width: plan.json stores it and
 * the report draws it. Fractions are rounded to four significant digits, since nothing is computed from them again.
 */
import type { SpaceKind } from "../model/weights.ts";
import { type Keep, keptUnits } from "../prune/plan.ts";
import { mean, spearman } from "../tensor/statistics.ts";
import type { SpaceAnalysis } from "./analysis.ts";
import type { GpruneDecision } from "./gprune.ts";
import type { BehaviourModule } from "./modules.ts";
import type { ModuleVerdict } from "./reliability.ts";
import { type SpaceSensitivity, summariseSensitivity } from "./sensitivity_summary.ts";
import type { WidthMove } from "./width_moves.ts";

/** Number of units of each kind whose ranks are listed one by one. */
const PROFILES = 12;

/** A module, the verdict on it, and how many of its units the plan keeps. */
export interface ModuleExplanation extends BehaviourModule, ModuleVerdict {
  /** Number of units that the plan keeps. */
  readonly kept: number;
  /** Mean rank of its units by set, 0..1, in the order of the sets' names. */
  readonly profile: readonly number[];
  /** Alpha, 0..1: how far the sets agree that the order is wrong (consensus.ts); absent unless sparsity was learned. */
  readonly consensus?: number | undefined;
}

/** Sensitivity and modules of one space. */
export interface SpaceExplanation extends Omit<SpaceSensitivity, "kind" | "layer"> {
  /** Why the space has this number of modules. */
  readonly reason: string;
  readonly modules: readonly ModuleExplanation[];
}

/** A unit that the sets disagree about: its rank on each, 0..1. */
export interface RankProfile {
  readonly space: string;
  readonly unit: number;
  readonly kept: boolean;
  readonly ranks: readonly number[];
}

/** Spearman's correlation of every two sets' rankings of the units, mean over the spaces of a kind; [sets, sets]. */
export type SetAgreement = Readonly<Record<SpaceKind, readonly (readonly number[])[]>>;

/** The reasons for a decision; plain JSON. */
export interface Explanation {
  /** Names of the calibration sets, ascending: the order of profiles, ranks and agreements. */
  readonly setOrder: readonly string[];
  readonly spaces: readonly SpaceExplanation[];
  readonly agreement: SetAgreement;
  /** The units with the largest sigma, `PROFILES` of each kind, most sensitive first. */
  readonly profiles: readonly RankProfile[];
  /** Width changes by refinement; absent without refinement. */
  readonly moves?: readonly WidthMove[];
}

/** The modules, verdicts and ranks that led to the kept units. */
export function explainDecision({ analyses, keep, consensus, moves }: GpruneDecision): Explanation {
  const sensitivities = new Map(analyses.map(({ space, sensitivity }) => [space.id, sensitivity]));
  const { sets, spaces } = summariseSensitivity(
    analyses.map(({ space }) => space),
    sensitivities,
  );
  return rounded({
    setOrder: sets,
    spaces: spaces.map(({ kind: _kind, layer: _layer, ...row }, index) => ({
      ...row,
      reason: analyses[index]!.modules.reason,
      modules: explainModules(analyses[index]!, keep, consensus.get(row.space)),
    })),
    agreement: { ffn: agreementOf(analyses, "ffn"), kv: agreementOf(analyses, "kv") },
    profiles: [...profilesOf(analyses, "ffn", keep), ...profilesOf(analyses, "kv", keep)],
    ...(moves && { moves }),
  });
}

function explainModules(
  { space, sensitivity, modules, verdicts }: SpaceAnalysis,
  keep: Keep,
  consensus: readonly number[] | undefined,
): readonly ModuleExplanation[] {
  const kept = keptUnits(keep, space);
  return modules.modules.map((module, index) => {
    const members = modules.assignment.flatMap((of, unit) => (of === index ? [unit] : []));
    return {
      ...module,
      ...verdicts[index]!,
      kept: kept.filter((unit) => modules.assignment[unit] === index).length,
      profile: sensitivity.ranks.map((ranks) => mean(members.map((unit) => ranks[unit]!))),
      consensus: consensus?.[index],
    };
  });
}

function agreementOf(analyses: readonly SpaceAnalysis[], kind: SpaceKind): readonly (readonly number[])[] {
  // Two units have only two possible orders, which says little about agreement.
  const compared = analyses.filter(({ space }) => space.kind === kind && space.units > 2);
  const sets = compared[0]?.sensitivity.ranks.length ?? 0;
  const rows = Array.from({ length: sets }, () => new Array<number>(sets).fill(1));
  for (let a = 0; a < sets; a++) {
    for (let b = 0; b < a; b++) {
      const value = mean(compared.map(({ sensitivity: { ranks } }) => spearman(ranks[a]!, ranks[b]!)));
      rows[a]![b] = value;
      rows[b]![a] = value;
    }
  }
  return rows;
}

function profilesOf(analyses: readonly SpaceAnalysis[], kind: SpaceKind, keep: Keep): readonly RankProfile[] {
  const top: { readonly analysis: SpaceAnalysis; readonly unit: number; readonly sigma: number }[] = [];
  for (const analysis of analyses.filter(({ space }) => space.kind === kind)) {
    for (const [unit, sigma] of analysis.sensitivity.sigma.entries()) {
      if (top.length === PROFILES && sigma <= top.at(-1)!.sigma) continue;
      top.splice(PROFILES - 1);
      const place = top.findIndex((other) => other.sigma < sigma);
      top.splice(place < 0 ? top.length : place, 0, { analysis, unit, sigma });
    }
  }
  return top.map(({ analysis: { space, sensitivity }, unit }) => ({
    space: space.id,
    unit,
    kept: keep[space.id]?.includes(unit) ?? true,
    ranks: sensitivity.ranks.map((ranks) => ranks[unit]!),
  }));
}

/** Rounds fractions to four significant digits, not decimals: the `worth` of a large model's widths is far below 1. */
function rounded<T>(value: T): T {
  const round = (_key: string, part: unknown): unknown =>
    typeof part === "number" && !Number.isInteger(part) ? Number(part.toPrecision(4)) : part;
  return JSON.parse(JSON.stringify(value, round)) as T;
}
