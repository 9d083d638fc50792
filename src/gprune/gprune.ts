/**
 * The method, from evidence to kept units: score every set, find behaviour-consistent modules, judge their reliability,
 * order their units, and share the budget among them.
 */

import {
  badArgument,
  requireCount,
  requireOwnNames,
  requirePositive,
  requireSome,
} from "../base/arguments.ts";
import type { AllocationName, Shape } from "../base/choices.ts";
import { namesText } from "../base/lists.ts";
import { type OnProgress, silent } from "../base/progress.ts";
import { type Checkpoints, NO_STAGES, type Stages } from "../base/stages.ts";
import type { TokenSet, WeightedTokenSet } from "../calibrate/calibrate.ts";
import { type Evidence, poolEvidence, type SplitEvidence } from "../calibrate/evidence.ts";
import { hasCentre } from "../calibrate/gate_gradients.ts";
import type { GateStatsState } from "../calibrate/gate_stats.ts";
import type { Moments } from "../calibrate/moments.ts";
import { unpruned } from "../calibrate/passes.ts";
import { type CalibrationStats, channelMeans } from "../calibrate/stats.ts";
import { type DecidingSet, setsInTurn, type TurnOf } from "../calibrate/windows.ts";
import type { Runtime } from "../graph/runtime/runtime.ts";
import type { Model } from "../model/model.ts";
import { channelsOf, spacesOf } from "../model/spaces.ts";
import type { ModelSpec } from "../model/spec.ts";
import { allocationByName } from "../prune/allocate.ts";
import { requireSparsity } from "../prune/allocation.ts";
import { type Keep, keptUnits } from "../prune/plan.ts";
import type { RunPasses } from "../recover/passes.ts";
import { makeCompensated } from "../recover/recipe.ts";
import { type Importance, scoreEach } from "../score/importance.ts";
import type { Metric } from "../score/metric.ts";
import { analyseUnits, type SpaceAnalysis, type SplitImportance } from "./analysis.ts";
import type { Consensus } from "./consensus.ts";
import { type ErrorCurvesState, errorCurves } from "./error_curves.ts";
import { MAX_CENTRES } from "./kmeans.ts";
import { learnAllocation, type Round, type RoundMeasurement } from "./learned.ts";
import { fluctuationPrior } from "./prior.ts";
import { removeByMarginals } from "./ranking.ts";
import { refineWidths } from "./refine.ts";
import type { WidthMove } from "./width_moves.ts";

/** Options of {@link decideGprune}. */
export interface GpruneRequest {
  readonly model: Model;
  /** Runs the error curves, which `passes` does not compute. */
  readonly runtime: Runtime;
  readonly passes: RunPasses;
  readonly sets: readonly (DecidingSet & WeightedTokenSet)[];
  /** Of every set, by name. */
  readonly evidence: ReadonlyMap<string, SplitEvidence>;
  /** Moments that least squares will refit the result from; needed where widths are refined. */
  readonly moments: Moments;
  /** Whether least squares adds biases to output projections that have none; true when absent. */
  readonly addsBiases?: boolean | undefined;
  readonly metric: Metric;
  /** The activation-independent metric of modules that fall back. */
  readonly fallback: Metric;
  readonly allocation: AllocationName;
  /** Whether learning raises the weights of the sets whose losses increase most; false when absent. */
  readonly robust?: boolean;
  /** Fraction 0 <= s < 1 of the prunable parameters to remove. */
  readonly sparsity: number;
  /** FFN widths that change become multiples of this; 1, for any, when absent. */
  readonly roundTo?: number;
  /** `per-layer` when absent. */
  readonly shape?: Shape;
  /** Rounds in which learning reaches the sparsity, at least 1. */
  readonly rounds: number;
  /**
   * Whether learned widths of shape `per-layer` are refined by measuring alternatives on the model refitted by least
   * squares; true when absent.
   */
  readonly refine?: boolean;
  /** Windows of every set for gradients in each round, at least 1; all where a set has fewer. */
  readonly gradientWindows: number;
  /** Largest number of behaviour-consistent modules in a space, 1 to 255. */
  readonly maxModules: number;
  readonly seed: number;
  readonly onProgress?: OnProgress;
  /** Keeps scores, curves and the measurements of each round, so that an interrupted run can go on. */
  readonly stages?: Stages;
}

/** Kept units, and the analyses, rounds and width changes that led to them. */
export interface GpruneDecision {
  readonly keep: Keep;
  readonly analyses: readonly SpaceAnalysis[];
  /** Empty unless the allocation was learned. */
  readonly rounds: readonly Round[];
  /** Width changes by refinement after the rounds; absent without refinement. */
  readonly moves?: readonly WidthMove[];
  /** Alphas of the last round; empty unless the allocation was learned. */
  readonly consensus: Consensus;
}

/** Slopes are measured on as many windows as this number of rounds takes, at most as many as decide. */
export const SLOPE_ROUNDS = 3;

/**
 * Decides which units are kept.
 * @throws GpruneError BAD_ARGUMENT for numbers out of their bounds, sets that do not all have windows of at least two
 *   tokens, a weight above 0 and evidence, evidence of another model or without what the metric needs, or a sparsity
 *   that the minimum widths do not allow; NOT_FINITE as `scoreModel`
 */
export async function decideGprune(request: GpruneRequest): Promise<GpruneDecision> {
  const job = jobOf(request);
  const analyses = await job.stages.run("analyse", () => analyse(job));
  return { ...(await allocate(job, analyses)), analyses };
}

/** A request with its defaults, and what follows from its sets. */
interface Job extends Required<GpruneRequest> {
  /** Weight of every set by name. */
  readonly weights: ReadonlyMap<string, number>;
  /** Evidence of all sets as one, by their weights. */
  readonly pooled: Evidence;
}

/** @throws GpruneError BAD_ARGUMENT as `decideGprune` */
function jobOf({
  addsBiases = true,
  robust = false,
  roundTo = 1,
  shape = "per-layer",
  refine = true,
  onProgress = silent,
  stages = NO_STAGES,
  ...request
}: GpruneRequest): Job {
  const settled = { ...request, addsBiases, robust, roundTo, shape, refine, onProgress, stages };
  requireUsable(settled);
  const { sets, evidence } = request;
  const weights = new Map(sets.map(({ name, weight }) => [name, weight]));
  return { ...settled, weights, pooled: poolEvidence(evidence, sets) };
}

/**
 * @throws GpruneError BAD_ARGUMENT for numbers out of their bounds, or unless all sets have windows, a weight and
 *   evidence
 */
function requireUsable({ sets, evidence, sparsity, ...numbers }: Required<GpruneRequest>): void {
  const { roundTo, rounds, gradientWindows, maxModules } = numbers;
  for (const [name, count] of Object.entries({ roundTo, rounds, gradientWindows })) requireCount(name, count);
  requireCount("maxModules", maxModules, { most: MAX_CENTRES });
  requireSparsity(sparsity);
  requireSome("sets", sets);
  requireOwnNames("sets", sets);
  for (const set of sets) requirePredictions(set);
  for (const { name, weight } of sets) requirePositive(`weight of ${name}`, weight);
  const names = sets.map(({ name }) => name);
  if (evidence.size === names.length && names.every((name) => evidence.has(name))) return;
  const got = namesText([...evidence.keys()]) || "none";
  throw badArgument("evidence", `those of ${namesText(names)}`, `those of ${got}`);
}

/** @throws GpruneError BAD_ARGUMENT for a set without windows, or with one that has no loss */
function requirePredictions({ name, windows }: TokenSet): void {
  const short = windows.find(({ length }) => length < 2);
  if (windows.length > 0 && short === undefined) return;
  const got = short === undefined ? "none" : `one of ${short.length}`;
  throw badArgument(`windows of ${name}`, "at least one, each of at least two tokens", got);
}

/** Scores every set and its halves by the metric, the pooled sets by both metrics, and analyses the units. */
async function analyse(job: Job): Promise<readonly SpaceAnalysis[]> {
  const { model, metric, fallback, evidence, pooled, seed, maxModules, onProgress } = job;
  const spaces = spacesOf(model.spec);
  const score = (by: Metric, inputs: readonly Evidence[], pass: number): Promise<readonly Importance[]> => {
    const onLayer = (done: number, layers: number): void =>
      onProgress({ stage: "score", done: pass * layers + done, total: 2 * layers, unit: "layers" });
    return scoreEach({ model, metric: by, seed, onLayer }, inputs);
  };
  const parts = Array.from(evidence.values(), ({ whole, halves }) => [whole, ...(halves ?? [])]).flat();
  const inputs = [pooled, ...parts];
  const scores = await score(metric, inputs, 0);
  const scoresOf = (input: Evidence): Importance => scores[inputs.indexOf(input)]!;
  const [fallbackScores] = await score(fallback, [pooled], 1);
  const sets = new Map(
    Array.from(evidence, ([name, { whole, halves }]): readonly [string, SplitImportance] => {
      return [name, { whole: scoresOf(whole), halves: halves && [scoresOf(halves[0]), scoresOf(halves[1])] }];
    }),
  );
  return analyseUnits({
    spaces,
    sets,
    pooled: scoresOf(pooled),
    fallback: fallbackScores!,
    seed,
    maxModules,
  });
}

/** A decision without the analyses that it is based on. */
type Allocated = Omit<GpruneDecision, "analyses">;

/** Shares the budget by the requested allocation. */
async function allocate(job: Job, analyses: readonly SpaceAnalysis[]): Promise<Allocated> {
  const { model, sparsity, roundTo, shape, allocation, stages } = job;
  const budget = { spec: model.spec, sparsity, roundTo, shape };
  switch (allocation) {
    case "learned":
      return learn(job, analyses);
    case "curves": {
      const marginals = await stages.run("curves", (checkpoints: Checkpoints<ErrorCurvesState>) =>
        errorCurves({ ...job, analyses, checkpoints }),
      );
      return unlearned(removeByMarginals(marginals, { ...budget, analyses, keep: {} }));
    }
    default: {
      const importance = new Map(
        analyses.map(({ space, importance: scores }) => [space.id, scores] as const),
      );
      return unlearned(allocationByName(allocation).allocate({ ...budget, importance }));
    }
  }
}

function unlearned(keep: Keep): Allocated {
  return { keep, rounds: [], consensus: new Map() };
}

/** Learns the allocation in rounds and, if requested, refines its widths. */
async function learn(job: Job, analyses: readonly SpaceAnalysis[]): Promise<Allocated> {
  const { model, pooled, sparsity, roundTo, rounds, gradientWindows, stages } = job;
  const learned = await learnAllocation({
    ...job,
    spec: model.spec,
    analyses,
    prior: await fluctuationPrior(model, pooled.stats),
    measure: (keep, round) =>
      stages.run(`round ${round}`, (checkpoints: Checkpoints<GateStatsState>) =>
        measureRound(job, keep, { round, checkpoints }),
      ),
  });
  // Refinement moves every width by itself.
  if (!job.refine || job.shape !== "per-layer") return learned;
  const { keep, order, weights } = learned;
  const refined = await refineWidths({
    ...job,
    weights,
    widths: { spec: model.spec, keep, order, sparsity, roundTo },
    centres: centresOf(model.spec, {}, pooled.stats),
    turnOf: turnOf({ gradientWindows, from: rounds, rounds: SLOPE_ROUNDS }),
    stages,
  });
  return { ...learned, ...refined };
}

/**
 * The windows of `rounds` rounds that follow the first `from` rounds; a set with fewer windows than `gradientWindows`
 * gives all of them in every round.
 */
function turnOf({
  gradientWindows,
  from,
  rounds,
}: Readonly<Record<"gradientWindows" | "from" | "rounds", number>>): TurnOf {
  return (windows) => {
    const each = Math.min(gradientWindows, windows);
    return { start: from * each, count: rounds * each };
  };
}

/** Gate statistics on a round's windows of the model with only these units, means compensated; with `robust` losses. */
async function measureRound(
  job: Job,
  keep: Keep,
  { round, checkpoints }: { readonly round: number; readonly checkpoints: Checkpoints<GateStatsState> },
): Promise<ReadonlyMap<string, RoundMeasurement>> {
  const { model, passes, sets, pooled, gradientWindows, rounds, seed, robust, onProgress } = job;
  const masked = await makeCompensated(model, keep, pooled.stats);
  const chosen = setsInTurn(sets, turnOf({ gradientWindows, from: round - 1, rounds: 1 }), seed);
  const gates = await passes.gateStatistics(masked, chosen, {
    damped: true,
    centres: centresOf(model.spec, keep, pooled.stats),
    stage: `learn ${round}/${rounds}`,
    onProgress,
    checkpoints,
  });
  if (!robust) return new Map(chosen.map(({ name }) => [name, { gates: gates.get(name)! }]));
  const dense = unpruned(model);
  const losses = await passes.losses(
    chosen.map(({ windows }) => ({ made: dense, windows })),
    { stage: `dense losses ${round}/${rounds}`, onProgress },
  );
  const measured = chosen.map(({ name }, d): readonly [string, RoundMeasurement] => {
    const { nll, predictions } = losses[d]!;
    return [name, { gates: gates.get(name)!, denseLoss: nll / predictions }];
  });
  return new Map(measured);
}

/**
 * Mean activations of the kept channels by space id, [channels]: a removed unit is replaced by its mean. Neurons of
 * experts are not, since these take no biases.
 */
function centresOf(spec: ModelSpec, keep: Keep, stats: CalibrationStats): ReadonlyMap<string, Float32Array> {
  const compensated = spacesOf(spec).filter((space) => hasCentre(spec, space));
  return new Map(
    compensated.map((space) => {
      const means = channelMeans(stats, space);
      const channels = channelsOf(keptUnits(keep, space), space.unitChannels);
      return [space.id, Float32Array.from(channels, (channel) => means[channel]!)];
    }),
  );
}
