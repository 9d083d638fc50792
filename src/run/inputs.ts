/** What a run is given: a metric to fall back on, perhaps a plan, texts; and whether that fits the model. */

import { join } from "node:path";
import type { AllocationName } from "../base/choices.ts";
import { namesText } from "../base/lists.ts";
import { plainName } from "../base/plain_text.ts";
import type { OnProgress } from "../base/progress.ts";
import type { Checkpoints, Stages } from "../base/stages.ts";
import {
  forCheckAlone,
  HELD_OUT_WINDOWS,
  hasOwnText,
  isOwnText,
  loadTokenSet,
  OWN_TEXT,
  requireOneOwnText,
  requireWindowsFit,
  type SampledSet,
  type TextSet,
  windowLength,
} from "../calibrate/windows.ts";
import { GPRUNE_ALLOCATION, inSchemaOrder, type RunConfig, refines, type SettledConfig } from "../config.ts";
import { GpruneError } from "../errors.ts";
import { ownTextToCome, writeOwnText } from "../evaluate/own_text.ts";
import type { SampleState } from "../evaluate/sample.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { collectIfTight } from "../graph/runtime/memory_policy.ts";
import type { Runtime } from "../graph/runtime/runtime.ts";
import { kindOfPath, readSmallText } from "../io/files/file.ts";
import { unusedText } from "../model/checkpoint/unused_tensors.ts";
import type { Model } from "../model/model.ts";
import { layersParameters } from "../model/spaces.ts";
import type { ModelSpec } from "../model/spec.ts";
import { chatRendererOf } from "../model/tokenizer/chat_template.ts";
import { Tokenizer } from "../model/tokenizer/tokenizer.ts";
import { badPlan, PLANNED_WEIGHTS, type PruningPlan, validatePlan } from "../prune/plan.ts";
import { PLAN_LIMITS, parsePlan } from "../prune/plan_json.ts";
import type { Metric } from "../score/metric.ts";
import { METRICS, metricByName } from "../score/registry.ts";

/** @throws GpruneError BAD_ARGUMENT for an unknown metric, and for one that looks at more than weights */
export function fallbackByName(name: string, where: string = "fallback"): Metric {
  const metric = metricByName(name, where);
  if (metric.input === "weights") return metric;
  throw new GpruneError(
    "BAD_ARGUMENT",
    `${where}: expected one of ${metricsOfWeights()}, got ${metric.name}`,
    {
      hint: "Modules fall back because their activation scores do not hold, so the weights alone must score them.",
    },
  );
}

/** Names of the metrics that need no text. */
function metricsOfWeights(): string {
  return METRICS.filter(({ input }) => input === "weights")
    .map(({ name }) => name)
    .join(", ");
}

/** The plan to be carried out; null when one is to be made. */
export async function readPlan({ plan: path }: RunConfig): Promise<PruningPlan | null> {
  if (path === undefined) return null;
  if ((await kindOfPath(path)) === "directory") {
    throw new GpruneError("BAD_ARGUMENT", `plan: expected a file, got the directory ${path}`, {
      hint: `An output's plan is ${join(path, "plan.json")}.`,
    });
  }
  return parsePlan(await readSmallText(path, PLAN_LIMITS.maxBytes), path);
}

/** @throws GpruneError BAD_PLAN when there is a plan and it is for another model */
export function requireFit(
  plan: PruningPlan | null,
  { model, where = "plan" }: { readonly model: Model; readonly where: string | undefined },
): void {
  const check = plan === null ? { ok: true as const } : validatePlan(plan, model.spec);
  if (!check.ok) throw badPlan(where, check.problems);
}

/** What `warningsOf` looks at besides a plan. */
interface WarningFacts {
  readonly model: Model;
  readonly config: Pick<RunConfig, "plan" | "calibration">;
  /** The hash of the model's weights; null when it is in no file, or not known yet. */
  readonly weights: string | null;
}

/** What the user should know about the model, the sets and the plan that is carried out, a sentence each. */
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
      ? [`${where}: the plan was made for a model with other weights than ${model.origin.name} has`]
      : []),
  ];
}

/** Sets under several names; weights say better what is to count more. */
function sameTexts(sets: RunConfig["calibration"]): readonly string[] {
  const names = new Map<string, readonly string[]>();
  for (const { name, path } of sets) names.set(path, [...(names.get(path) ?? []), name]);
  return Array.from(names).flatMap(([path, sets]) =>
    sets.length === 1
      ? []
      : [`sets ${namesText(sets)}: the same text, ${plainName(path)}, ${sets.length} times`],
  );
}

/** Fewer sets than this gain from the model's own text beside them; five did not (docs/EXPERIMENTS.md). */
const MANY_SETS = 5;
/** Windows of each set when nothing is said; fewer sets have as many together as `MANY_SETS` would. */
const WINDOWS = { samples: 16, gradientWindows: 2 } as const;
/**
 * Least squares has so many times as many, while all sets together have no more than `MANY_WINDOWS`
 * (docs/EXPERIMENTS.md).
 */
const REFIT_TIMES = 2;
const MANY_WINDOWS = 240;
/** Bytes of a model's layers in float32, all of which are in memory while it writes, up to which it does unasked. */
const WRITING_BYTES = 2 ** 32;
/** Names for a set that is added, the first that is free. */
const OWN_NAMES = ["own", "self", "model"] as const;

/**
 * A configuration with the set that the model is to write, if there is to be one, the number and length of windows, and
 * the names of the metrics and the allocation that are used.
 * @throws GpruneError BAD_ARGUMENT for metrics that there are not
 */
export function settle(config: RunConfig, spec: ModelSpec): SettledConfig {
  const mayWrite = 4 * layersParameters(spec) <= WRITING_BYTES;
  return inSchemaOrder({
    ...settleButLength(config, mayWrite),
    seqLen: windowLength([{ spec }], config.seqLen),
  });
}

/**
 * The same but for the length of windows, which depends on the model.
 * @param mayWrite - whether the model is small enough to write a set unasked
 */
export function settleButLength(config: RunConfig, mayWrite: boolean): Omit<SettledConfig, "seqLen"> {
  const added = addsOwnText(config, mayWrite) ? [addedSet(config)] : [];
  const calibration = [...config.calibration, ...added];
  const sets = Math.max(1, calibration.length);
  const share = Math.max(1, MANY_SETS / sets);
  const { samples = Math.ceil(WINDOWS.samples * share) } = config;
  const few = Math.min(REFIT_TIMES * samples, Math.ceil(MANY_WINDOWS / sets));
  const metric = metricByName(config.metric);
  return {
    ...config,
    metric: metric.name,
    allocation: allocationOf(config, metric),
    fallback: fallbackByName(config.fallback).name,
    calibration,
    samples,
    refine: refines(config),
    refitSamples: config.refitSamples ?? Math.max(samples, few),
    gradientWindows: config.gradientWindows ?? Math.ceil(WINDOWS.gradientWindows * share),
  };
}

/** A set that counts as much as the others do on average, since only the proportions of weights mean anything. */
function addedSet({ calibration: sets }: RunConfig): TextSet {
  // More names than there are sets.
  const names = [...OWN_NAMES, ...sets.map((_, index) => `own-${index + 2}`)];
  const name = names.find((candidate) => sets.every((set) => set.name !== candidate))!;
  const weight = sets.length === 0 ? 1 : sets.reduce((sum, set) => sum + set.weight, 0) / sets.length;
  return { name, path: OWN_TEXT, weight };
}

/** By itself only where GPrune decides: a metric alone is as it was published, and a plan's run had its own sets. */
function addsOwnText(config: RunConfig, mayWrite: boolean): boolean {
  const { ownText, calibration, method, plan } = config;
  if (ownText === "never" || hasOwnText(config)) return false;
  if (ownText === "always") return true;
  const isFew = calibration.length > 0 && calibration.length < MANY_SETS;
  const decides = method === "gprune" && plan === undefined;
  return isFew && decides && mayWrite;
}

/** How layers share the budget: as it is said, else learned with GPrune, else as the metric was published. */
function allocationOf({ method, allocation }: RunConfig, metric: Metric): AllocationName {
  return allocation ?? (method === "gprune" ? GPRUNE_ALLOCATION : metric.allocation);
}

/** Whether what is removed depends on the texts: not where a plan says it, or a metric of the weights alone. */
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
  const decides = config.plan === undefined;
  const metrics = decides ? `--method none with a metric of weights (${metricsOfWeights()}) and ` : "";
  throw new GpruneError("BAD_ARGUMENT", "calibration: expected at least one set, got none", {
    hint: `Give --calib NAME=PATH, or --calib own=${OWN_TEXT} for text that the model writes; ${metrics}--recover none needs no text.`,
  });
}

/** The calibration sets; one that the model is yet to write is as large as it will be. */
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
    if (learns) sayIfUsedUp(sampled, config, onProgress);
    sets.push(learns ? sampled : forCheckAlone(sampled));
  }
  return sets;
}

/** Says where a text has too few windows for the check to have its own. */
function sayIfUsedUp(
  { name, windows, heldOut, unused }: SampledSet,
  { samples, seqLen }: Pick<SettledConfig, "samples" | "seqLen">,
  onProgress: OnProgress,
): void {
  if (heldOut.length === HELD_OUT_WINDOWS) return;
  const count = windows.length + heldOut.length + unused.length;
  const most = count - HELD_OUT_WINDOWS;
  const kept = heldOut.length === 0 ? "none are" : `only ${heldOut.length} is`;
  const instead = most > 0 ? `--samples ${most} at most` : "a smaller --seq-len";
  onProgress({
    ...{ stage: "tokenize", done: count, total: count, unit: "windows" },
    hint: `${name} has ${count} windows of ${seqLen} tokens, ${samples} were asked for, so ${kept} held out for the check; give more text or ${instead}`,
  });
}

/** The sets, when the model has written its own. @param sets - as `loadCalibration` gives them */
export async function withOwnText(
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
  const written = await stages.run("own text", (checkpoints: Checkpoints<SampleState>) => {
    const writer = { runner, tokenizer: Tokenizer.of(model) };
    return writeOwnText(planned, writer, { seqLen, seed, onProgress, checkpoints });
  });
  // All layers were in memory, and nothing that follows needs more than two of them.
  collectIfTight(runner.memory);
  return sets.with(own, written);
}

/** Whether there are no sets, or only such that serve the check. */
export function learnsNothing(sets: readonly SampledSet[]): boolean {
  return sets.every(({ windows }) => windows.length === 0);
}
