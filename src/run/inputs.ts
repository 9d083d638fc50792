/** Inputs of a run: the fallback metric, the given plan, calibration texts and settled defaults; and their checks. */

import { join } from "node:path";
import type { AllocationName } from "../base/choices.ts";
import { RUN_FILES } from "../base/file_names.ts";
import { namesText } from "../base/lists.ts";
import { plainName } from "../base/plain_text.ts";
import type { OnProgress } from "../base/progress.ts";
import type { Checkpoints, Stages } from "../base/stages.ts";
import { hasOwnText, isOwnText, OWN_TEXT, requireOneOwnText, type TextSet } from "../calibrate/text_sets.ts";
import {
  forCheckAlone,
  HELD_OUT_WINDOWS,
  loadTokenSet,
  requireWindowsFit,
  type SampledSet,
  windowLength,
  windowsText,
} from "../calibrate/windows.ts";
import { GPRUNE_ALLOCATION, inSchemaOrder, type RunConfig, refines, type SettledConfig } from "../config.ts";
import { GpruneError } from "../errors.ts";
import type { GeneratedTextState } from "../evaluate/generated_texts.ts";
import { ownTextToCome, writeOwnText } from "../evaluate/own_text.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { collectIfGrown } from "../graph/runtime/memory_policy.ts";
import type { Runtime } from "../graph/runtime/runtime.ts";
import { kindOfPath, readSmallText } from "../io/files/file.ts";
import { unusedText } from "../model/checkpoint/unused_tensors.ts";
import type { Model } from "../model/model.ts";
import { layersParameters } from "../model/parameter_counts.ts";
import type { ModelSpec } from "../model/spec.ts";
import { chatRendererOf } from "../model/tokenizer/chat_template.ts";
import { Tokenizer } from "../model/tokenizer/tokenizer.ts";
import { badPlan, PLANNED_WEIGHTS, type PruningPlan, validatePlan } from "../prune/plan.ts";
import { PLAN_LIMITS, parsePlan } from "../prune/plan_json.ts";
import type { Metric } from "../score/metric.ts";
import { METRICS, metricByName } from "../score/registry.ts";

/** The fallback metric. @throws GpruneError BAD_ARGUMENT for an unknown metric, or one that needs more than weights */
export function fallbackByName(name: string, where: string = "fallback"): Metric {
  const metric = metricByName(name, where);
  if (metric.input === "weights") return metric;
  throw new GpruneError(
    "BAD_ARGUMENT",
    `${where}: expected one of ${metricsOfWeights().join(", ")}, got ${metric.name}`,
    {
      hint: "Modules fall back where activation scores are unreliable, so this metric must use the weights alone.",
    },
  );
}

/** Names of the metrics that need no text. */
function metricsOfWeights(): readonly string[] {
  return METRICS.filter(({ input }) => input === "weights").map(({ name }) => name);
}

/** Reads the given plan; null if the configuration has none. @throws GpruneError BAD_ARGUMENT, BAD_PLAN, BAD_FILE */
export async function readPlan({ plan: path }: RunConfig): Promise<PruningPlan | null> {
  if (path === undefined) return null;
  if ((await kindOfPath(path)) === "directory") {
    throw new GpruneError("BAD_ARGUMENT", `plan: expected a file, got the directory ${path}`, {
      hint: `An output's plan is ${join(path, RUN_FILES.plan)}.`,
    });
  }
  return parsePlan(await readSmallText(path, PLAN_LIMITS.maxBytes), path);
}

/** @throws GpruneError BAD_PLAN if a plan is given and is for another model */
export function requireFit(
  plan: PruningPlan | null,
  { model, where = "plan" }: { readonly model: Model; readonly where: string | undefined },
): void {
  const check = plan === null ? { ok: true as const } : validatePlan(plan, model.spec);
  if (!check.ok) throw badPlan(where, check.problems);
}

/** Inputs of `warningsOf` besides the plan. */
interface WarningFacts {
  readonly model: Model;
  readonly config: Pick<RunConfig, "plan" | "calibration">;
  /** Hash of the model's weights; null if the model is in no file, or not hashed yet. */
  readonly weights: string | null;
}

/** Warnings about the model, the calibration sets and the given plan, a sentence each. */
export function warningsOf(
  plan: PruningPlan | null,
  { model, config: { plan: where = "plan", calibration }, weights }: WarningFacts,
): readonly string[] {
  const unused = unusedText(model);
  const planned = plan?.provenance[PLANNED_WEIGHTS];
  const isOther = typeof planned === "string" && weights !== null && planned !== weights;
  return [
    ...(unused === null ? [] : [unused]),
    ...sameTexts(calibration),
    ...(isOther
      ? [`${where}: the plan was made for a model with other weights than those of ${model.origin.name}`]
      : []),
  ];
}

/** A warning for every text that has several names: a weight is the way to make it count more. */
function sameTexts(sets: RunConfig["calibration"]): readonly string[] {
  const names = new Map<string, readonly string[]>();
  for (const { name, path } of sets) names.set(path, [...(names.get(path) ?? []), name]);
  return Array.from(names).flatMap(([path, sets]) =>
    sets.length === 1 ? [] : [`sets ${namesText(sets)} are the same text, ${plainName(path)}`],
  );
}

/** Fewer sets than this gain from the model's own text beside them; five did not (docs/EXPERIMENTS.md). */
const MANY_SETS = 5;
/** Default windows of each set; fewer sets than `MANY_SETS` have as many together as `MANY_SETS` sets would. */
const WINDOWS = { samples: 16, gradientWindows: 2 } as const;
/** Least squares uses this multiple of `samples`, up to `MANY_WINDOWS` windows of all sets (docs/EXPERIMENTS.md). */
const REFIT_TIMES = 2;
const MANY_WINDOWS = 240;
/**
 * Largest size in bytes of a model's layers in float32 up to which the model writes text by default: all layers are in
 * memory while it writes.
 */
const WRITING_BYTES = 2 ** 32;
/** Candidate names for the added set; the first free one is taken. */
const OWN_NAMES = ["own", "self", "model"] as const;

/**
 * Resolves the remaining defaults: adds the set of the model's own text where it applies, and fills in the number and
 * length of windows and the full names of metrics and allocation.
 * @throws GpruneError BAD_ARGUMENT for unknown metrics
 */
export function settle(config: RunConfig, spec: ModelSpec): SettledConfig {
  const mayWrite = 4 * layersParameters(spec) <= WRITING_BYTES;
  return inSchemaOrder({
    ...settleButLength(config, mayWrite),
    seqLen: windowLength([{ spec }], config.seqLen),
  });
}

/**
 * `settle` without the length of windows, which depends on the model.
 * @param mayWrite - whether the model is small enough to write a set by default
 */
export function settleButLength(config: RunConfig, mayWrite: boolean): Omit<SettledConfig, "seqLen"> {
  const added = addsOwnText(config, mayWrite) ? [addedSet(config)] : [];
  const calibration = [...config.calibration, ...added];
  const sets = Math.max(1, calibration.length);
  const share = Math.max(1, MANY_SETS / sets);
  const { samples = Math.ceil(WINDOWS.samples * share) } = config;
  const refitSamples = Math.min(REFIT_TIMES * samples, Math.ceil(MANY_WINDOWS / sets));
  const metric = metricByName(config.metric);
  return {
    ...config,
    metric: metric.name,
    allocation: allocationOf(config, metric),
    fallback: fallbackByName(config.fallback).name,
    calibration,
    samples,
    refine: refines(config),
    refitSamples: config.refitSamples ?? Math.max(samples, refitSamples),
    gradientWindows: config.gradientWindows ?? Math.ceil(WINDOWS.gradientWindows * share),
  };
}

/** The set of the model's own text, with the mean weight of the others, since only proportions of weights matter. */
function addedSet({ calibration: sets }: RunConfig): TextSet {
  // There are more candidates than sets, so one is free.
  const names = [...OWN_NAMES, ...sets.map((_, index) => `own-${index + 2}`)];
  const name = names.find((candidate) => sets.every((set) => set.name !== candidate))!;
  const weight = sets.length === 0 ? 1 : sets.reduce((sum, set) => sum + set.weight, 0) / sets.length;
  return { name, path: OWN_TEXT, weight };
}

/**
 * Whether a set of the model's own text is added. By default only where GPrune decides: a metric alone follows its
 * publication, and a plan was made with sets of its own.
 */
function addsOwnText(config: RunConfig, mayWrite: boolean): boolean {
  const { ownText, calibration, method, plan } = config;
  if (ownText === "never" || hasOwnText(config)) return false;
  if (ownText === "always") return true;
  const isFew = calibration.length > 0 && calibration.length < MANY_SETS;
  const decides = method === "gprune" && plan === undefined;
  return isFew && decides && mayWrite;
}

/** The configured allocation, or by default learned with GPrune and the metric's published one without. */
function allocationOf({ method, allocation }: RunConfig, metric: Metric): AllocationName {
  return allocation ?? (method === "gprune" ? GPRUNE_ALLOCATION : metric.allocation);
}

/** Whether the decision depends on the texts: not with a given plan, nor with a metric of weights alone. */
export function decidesByText({ plan, method }: RunConfig, { input }: Metric): boolean {
  return plan === undefined && (method !== "none" || input !== "weights");
}

/** Whether anything is learned from the texts: what is removed, or how it is made up for. */
function learnsFromText(config: RunConfig, metric: Metric): boolean {
  return decidesByText(config, metric) || config.recover !== "none";
}

/** Whether a run has no text to learn from, and needs some. @throws GpruneError BAD_ARGUMENT for an unknown metric */
export function lacksText(config: RunConfig): boolean {
  const hasSets = config.calibration.length > 0 || config.ownText === "always";
  return !hasSets && learnsFromText(config, metricByName(config.metric));
}

/** @throws GpruneError BAD_ARGUMENT where there is no text to learn from */
export function requireSets(config: RunConfig): void {
  if (!lacksText(config)) return;
  const { plan, method, metric, recover } = config;
  const decides = plan === undefined;
  const [first, ...others] = metricsOfWeights();
  const byText = [
    ...(decides && method !== "none" ? ["--method none"] : []),
    ...(decides && metricByName(metric).input !== "weights"
      ? [`--metric ${first} (or ${others.join(", ")})`]
      : []),
    ...(recover !== "none" ? ["--recover none"] : []),
  ];
  throw new GpruneError("BAD_ARGUMENT", "calibration: expected at least one set, got none", {
    hint: `Give --calib NAME=PATH, or --calib own=${OWN_TEXT} for text that the model generates. To do without text, add ${byText.join(", ")}.`,
  });
}

/** Loads the calibration sets. A set that the model has not written yet already has its final size. */
export async function loadCalibration(
  config: SettledConfig,
  {
    model,
    metric,
    onProgress,
  }: { readonly model: Model; readonly metric: Metric; readonly onProgress: OnProgress },
): Promise<readonly SampledSet[]> {
  const learns = learnsFromText(config, metric);
  if (config.calibration.length === 0) return [];
  const { samples, refitSamples, seqLen, seed } = config;
  requireWindowsFit(model, seqLen);
  const tokenizer = Tokenizer.of(model);
  const sets: SampledSet[] = [];
  const sampling = { samples, refitSamples, seqLen, seed, onProgress, renderer: () => chatRendererOf(model) };
  requireOneOwnText(config.calibration, "calibration");
  for (const set of config.calibration) {
    const sampled = isOwnText(set)
      ? ownTextToCome(set.name, sampling)
      : await loadTokenSet(set, tokenizer, sampling);
    if (learns) hintIfUsedUp(sampled, config, onProgress);
    sets.push(learns ? sampled : forCheckAlone(sampled));
  }
  return sets;
}

/** Reports a hint if a text has too few windows to hold some out for the check. */
function hintIfUsedUp(
  { name, windows, heldOut, unused }: SampledSet,
  { seqLen }: Pick<SettledConfig, "seqLen">,
  onProgress: OnProgress,
): void {
  if (heldOut.length === HELD_OUT_WINDOWS) return;
  const count = windows.length + heldOut.length + unused.length;
  const maxSamples = count - HELD_OUT_WINDOWS;
  const kept = heldOut.length === 0 ? "none is" : `only ${heldOut.length} is`;
  const instead =
    maxSamples > 0 ? `use at most ${windowsText(maxSamples)} (--samples)` : "use shorter windows (--seq-len)";
  onProgress({
    stage: "tokenize",
    done: count,
    total: count,
    unit: "windows",
    hint: `set ${name} has ${windowsText(count)} of ${seqLen} tokens, calibration takes ${windows.length}, so ${kept} held out for evaluation; give more text or ${instead}`,
  });
}

/** Lets the model write the set of its own text, if there is one. @param sets - as `loadCalibration` returns them */
export async function fillOwnSet(
  { calibration, seqLen, seed }: SettledConfig,
  sets: readonly SampledSet[],
  {
    model,
    runtime,
    stages,
    onProgress,
  }: {
    readonly model: Model;
    readonly runtime: Runtime;
    readonly stages: Stages;
    readonly onProgress: OnProgress;
  },
): Promise<readonly SampledSet[]> {
  const own = calibration.findIndex(isOwnText);
  const planned = sets[own];
  if (planned === undefined) return sets;
  const runner = new DecoderRunner(model, runtime);
  const written = await stages.run("own text", (checkpoints: Checkpoints<GeneratedTextState>) => {
    const writer = { runner, tokenizer: Tokenizer.of(model) };
    return writeOwnText(planned, writer, { seqLen, seed, onProgress, checkpoints });
  });
  // All layers were in memory; later stages need at most two at a time.
  collectIfGrown(runner.memory);
  return sets.with(own, written);
}
