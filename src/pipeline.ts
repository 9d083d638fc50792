/** The whole path from a model and texts to a smaller model, read top to bottom. */
import { join } from "node:path";
import type { TokenSet } from "./calibrate/calibrate.ts";
import { type Evidence, gatherEvidence, poolEvidence, type SplitEvidence } from "./calibrate/evidence.ts";
import { loadTokenSet, type SampledSet } from "./calibrate/windows.ts";
import { formatRunConfig, type RunConfig } from "./config.ts";
import { GpruneError } from "./errors.ts";
import { compareHeldOut, type HeldOutScore } from "./evaluate/held_out.ts";
import { type CardFacts, modelCard } from "./export/card.ts";
import { foreseeRuntimes } from "./export/foresee.ts";
import { exportHuggingFace, writtenSpec } from "./export/hf.ts";
import { type Runtimes, runtimesOf } from "./export/runtimes.ts";
import { explainDecision } from "./gprune/explanation.ts";
import { decideGprune, type GpruneRequest } from "./gprune/gprune.ts";
import { DecoderRunner } from "./graph/decoder_runner.ts";
import { Runtime } from "./graph/runtime.ts";
import { readSmallText } from "./io/file.ts";
import { parseHubAddress } from "./io/hub_address.ts";
import { requireFreeDirectory } from "./io/output_directory.ts";
import { openModel } from "./model/checkpoint.ts";
import { hfForm } from "./model/hf_form.ts";
import type { Model } from "./model/model.ts";
import { parameterCount } from "./model/spaces.ts";
import { Tokenizer } from "./model/tokenizer.ts";
import { versions } from "./package.ts";
import { type OnProgress, silent } from "./progress.ts";
import { allocationByName } from "./prune/allocate.ts";
import {
  achievedSparsity,
  badPlan,
  type Keep,
  makePlan,
  type PruningPlan,
  validatePlan,
  type Widths,
  widths,
} from "./prune/plan.ts";
import { formatPlan, PLAN_LIMITS, parsePlan } from "./prune/plan_json.ts";
import { applyPlan } from "./prune/surgery.ts";
import { distill } from "./recover/distill.ts";
import { DistillCheckpoints } from "./recover/distill_checkpoints.ts";
import { refitLeastSquares, type WeightedTokenSet } from "./recover/least_squares.ts";
import { compensateMeans } from "./recover/mean_compensation.ts";
import type { TrainingStep } from "./recover/training_state.ts";
import { runDocuments } from "./report/run_documents.ts";
import { runRecord } from "./report/run_record.ts";
import { scoreModel } from "./score/importance.ts";
import type { Metric } from "./score/metric.ts";
import { METRICS, metricByName } from "./score/registry.ts";

/** What a run did, as `gprune prune --json` prints it. */
export interface PruneResult {
  /** The directory that was written. */
  readonly output: string;
  /** Fractions of the prunable parameters that were to be and were removed; the same when a plan was given. */
  readonly sparsity: { readonly asked: number; readonly achieved: number };
  readonly parameters: { readonly before: number; readonly after: number };
  readonly widths: Widths;
  /** Which programs load the output. */
  readonly runtimes: Runtimes;
  /** Perplexity before and after on windows of the calibration texts that were not used, by set. */
  readonly held_out: Readonly<Record<string, HeldOutScore>>;
  /** Seconds per stage. */
  readonly timings: Readonly<Record<string, number>>;
  readonly calibration: Readonly<Record<string, { readonly windows: number; readonly tokens: number }>>;
  /** Calibration tokens per second of the calibration stage; 0 without one. */
  readonly tokens_per_second: number;
  readonly peak_rss_bytes: number;
  readonly seed: number;
  readonly versions: Readonly<Record<string, string>>;
  /** The report's file; null when none was asked for or it could not be drawn, and why. */
  readonly report: string | null;
  readonly report_problem: string | null;
}

/** What a caller may want to hear while a run goes on. */
export interface PruneOptions {
  readonly onProgress?: OnProgress;
  /** Called before anything is computed with who will load the result, as far as that is known then. */
  readonly onForeseen?: (runtimes: Runtimes) => void;
}

/**
 * Prunes a model: open, calibrate, score, allocate, cut, recover, save.
 * @throws GpruneError when the input is wrong or the output cannot be written; nothing is left behind then
 */
export async function prune(
  config: RunConfig,
  { onProgress = silent, onForeseen = () => {} }: PruneOptions = {},
): Promise<PruneResult> {
  const started = new Date();
  const clock = new Stopwatch();
  const metric = metricByName(config.metric);
  const fallback = fallbackByName(config.fallback);
  const given = await readPlan(config);
  await requireFreeDirectory(config.output);
  const model = await clock.time("open", () => openModel(config.model, { onProgress }));
  const runtime = new Runtime(config.threads === undefined ? {} : { threads: config.threads });
  try {
    requireFit(given, { model, where: config.plan });
    onForeseen(foresee(config, { model, plan: given }));
    const sets = await clock.time("tokenize", () => loadCalibration(config, { model, metric, onProgress }));
    const allocation = config.allocation ?? (config.method === "gprune" ? "learned" : metric.allocation);
    const run: Run = { started, config, model, runtime, sets, metric, fallback, allocation, onProgress };
    const knowledge = await clock.time("calibrate", () => learnFromSets(run, given));
    const plan = given ?? (await clock.time("decide", () => decide(run, knowledge)));
    const { pruned, curve, checkpoints } = await clock.time("recover", () => recover(run, plan, knowledge));
    const achieved = achievedSparsity(plan, model.spec);
    const result = {
      sparsity: { asked: given === null ? config.sparsity : achieved, achieved },
      parameters: { before: parameterCount(model.spec), after: parameterCount(writtenSpec(pruned.spec)) },
      widths: widths(plan, model.spec),
      runtimes: runtimesOf(pruned.spec),
      calibration: calibrationSummary(sets),
    };
    const pair = { dense: model, pruned, runtime };
    const heldOut = await clock.time("check", () => compareHeldOut(pair, sets, onProgress));
    const tokens = Object.values(result.calibration).reduce((sum, set) => sum + set.tokens, 0);
    const outcome = (): Outcome => ({
      ...result,
      held_out: heldOut,
      timings: clock.secondsSoFar(),
      tokens_per_second: knowledge === null ? 0 : tokens / clock.seconds.calibrate!,
      peak_rss_bytes: process.resourceUsage().maxRSS * 1024,
      seed: config.seed,
      versions: versions(),
    });
    const saving = { plan, curve, result: { ...result, heldOut }, outcome };
    const reported = await clock.time("save", () => save(run, pruned, saving));
    await checkpoints?.clear();
    return { output: config.output, ...outcome(), ...reported };
  } finally {
    await runtime.close();
    await model.weights.close();
  }
}

/** What a run did, the places of its files aside. */
type Outcome = Omit<PruneResult, "output" | "report" | "report_problem">;

/** What the stages of one run share. */
interface Run {
  readonly started: Date;
  readonly config: RunConfig;
  readonly model: Model;
  readonly runtime: Runtime;
  readonly sets: readonly SampledSet[];
  readonly metric: Metric;
  readonly fallback: Metric;
  readonly allocation: GpruneRequest["allocation"];
  readonly onProgress: OnProgress;
}

/** @throws GpruneError BAD_ARGUMENT for an unknown metric, and for one that looks at more than weights */
function fallbackByName(name: string): Metric {
  const metric = metricByName(name);
  if (metric.input === "weights") return metric;
  const names = METRICS.filter(({ input }) => input === "weights").map((candidate) => candidate.name);
  throw new GpruneError("BAD_ARGUMENT", `fallback: expected one of ${names.join(", ")}, got ${metric.name}`, {
    hint: "Modules fall back because their activation scores do not hold, so the weights alone must score them.",
  });
}

/** The plan to be carried out; null when one is to be made. */
async function readPlan({ plan: path }: RunConfig): Promise<PruningPlan | null> {
  if (path === undefined) return null;
  return parsePlan(await readSmallText(path, PLAN_LIMITS.maxBytes), path);
}

/** @throws GpruneError BAD_PLAN when there is a plan and it is for another model */
function requireFit(
  plan: PruningPlan | null,
  { model, where = "plan" }: { readonly model: Model; readonly where: string | undefined },
): void {
  const check = plan === null ? { ok: true as const } : validatePlan(plan, model.spec);
  if (!check.ok) throw badPlan(where, check.problems);
}

/** Who will load the result; refuses what nothing could. */
function foresee(
  { sparsity, roundTo, shape, recover: recovery }: RunConfig,
  { model, plan }: { readonly model: Model; readonly plan: PruningPlan | null },
): Runtimes {
  return foreseeRuntimes({
    spec: model.spec,
    sparsity,
    roundTo,
    shape,
    plan,
    addsBiases: recovery !== "none",
  });
}

async function loadCalibration(
  config: RunConfig,
  { model, metric, onProgress }: Pick<Run, "model" | "metric" | "onProgress">,
): Promise<readonly SampledSet[]> {
  const decided = config.plan !== undefined || (metric.input === "weights" && config.method === "none");
  if (decided && config.recover === "none") return [];
  if (config.calibration.length === 0) {
    throw new GpruneError("BAD_ARGUMENT", "calibration: expected at least one set, got none", {
      hint: `Give --calib NAME=PATH; only ${decided ? "" : "--method none --metric magnitude "}--recover none needs no text.`,
    });
  }
  const tokenizer = Tokenizer.fromFiles(model.files);
  const sets: SampledSet[] = [];
  const { samples, seqLen, seed } = config;
  const sampling = { samples, seqLen, seed, onProgress };
  for (const set of config.calibration) sets.push(await loadTokenSet(set, tokenizer, sampling));
  return sets;
}

/** What the sets say, each for itself and pooled by their weights; null without sets. */
interface Knowledge {
  readonly sets: ReadonlyMap<string, SplitEvidence>;
  readonly pooled: Evidence;
}

/** Nothing is learned that nobody asks for: plans that are given need statistics for mean compensation alone. */
async function learnFromSets(
  { config, model, runtime, sets, metric, onProgress }: Run,
  given: PruningPlan | null,
): Promise<Knowledge | null> {
  if (sets.length === 0 || (given !== null && config.recover !== "bias")) return null;
  const gradients = metric.input === "gradients" && given === null;
  const evidence = await gatherEvidence(new DecoderRunner(model, runtime), sets, { gradients, onProgress });
  const weights = config.calibration.map(({ weight }) => weight);
  const pooled = poolEvidence(
    Array.from(evidence.values(), ({ whole }) => whole),
    weights,
  );
  return { sets: evidence, pooled };
}

/** The plan, decided by the method. */
async function decide(run: Run, knowledge: Knowledge | null): Promise<PruningPlan> {
  const { config, model } = run;
  const { method, sparsity, shape, seed } = config;
  const sets = config.calibration.map(({ name, weight }) => ({ name, weight }));
  const provenance = {
    method,
    metric: run.metric.name,
    allocation: run.allocation,
    shape,
    sparsity,
    seed,
    sets,
  };
  if (method === "gprune" && knowledge !== null) {
    const decision = await decideGprune(gpruneRequest(run, knowledge));
    return makePlan(
      model.spec,
      decision.keep,
      toJson({ ...provenance, rounds: decision.rounds, ...explainDecision(decision) }),
    );
  }
  return makePlan(model.spec, await decidePlain(run, knowledge), toJson(provenance));
}

/** A metric and an allocation, nothing more. */
async function decidePlain(run: Run, knowledge: Knowledge | null): Promise<Keep> {
  const { config, model, metric, allocation } = run;
  const { sparsity, roundTo, shape, seed } = config;
  const layers = model.spec.layers.length;
  const importance = await scoreModel({
    model,
    metric,
    seed,
    ...knowledge?.pooled,
    onLayer: (done) => run.onProgress({ stage: "score", done, total: layers, unit: "layers" }),
  });
  return allocationByName(allocation).allocate({ spec: model.spec, importance, sparsity, roundTo, shape });
}

function gpruneRequest({ config, ...run }: Run, { sets: evidence, pooled }: Knowledge): GpruneRequest {
  const { sparsity, roundTo, shape, rounds, robust, gradientWindows, maxModules, seed } = config;
  const weights = new Map(config.calibration.map(({ name, weight }) => [name, weight]));
  return {
    ...run,
    evidence,
    pooled,
    weights,
    sparsity,
    roundTo,
    shape,
    rounds,
    robust,
    gradientWindows,
    maxModules,
    seed,
  };
}

/** A model that makes up for what it lost. */
interface Recovered {
  readonly pruned: Model;
  /** The loss curve when it was trained. */
  readonly curve?: readonly TrainingStep[];
  /** Where training kept its progress. */
  readonly checkpoints?: DistillCheckpoints;
}

async function recover(run: Run, plan: PruningPlan, knowledge: Knowledge | null): Promise<Recovered> {
  const { config, model, runtime, onProgress } = run;
  if (config.recover === "none" || run.sets.length === 0) return { pruned: applyPlan(model, plan) };
  if (config.recover === "bias") {
    return { pruned: await compensateMeans(model, plan, knowledge!.pooled.stats) };
  }
  const sets = run.sets.map((set, d) => ({ ...set, weight: config.calibration[d]!.weight }));
  const pruned = applyPlan(model, plan);
  const refitted = await refitLeastSquares({ dense: model, pruned, runtime, sets, onProgress });
  return config.recover === "lstsq" ? { pruned: refitted } : train(run, refitted);
}

/** Distills the dense model into the student, on all text of the sets but what is held out. */
async function train(run: Run, student: Model): Promise<Recovered> {
  const { config, model: dense, runtime, onProgress } = run;
  const sets = run.sets.map(({ name, windows, unused }, d): WeightedTokenSet => {
    return { name, windows: [...windows, ...unused], weight: config.calibration[d]!.weight };
  });
  const { steps, learningRate, seed, calibration, seqLen } = config;
  const settings = { steps, learningRate, seed, calibration, seqLen };
  const checkpoints = new DistillCheckpoints(`${config.output}.training`, JSON.stringify(settings));
  const request = { dense, student, runtime, sets, steps, learningRate, seed, checkpoints, onProgress };
  const { model: pruned, curve } = await distill(request);
  return { pruned, curve, checkpoints };
}

/** What `save` writes besides the model. */
interface Saving {
  readonly plan: PruningPlan;
  readonly curve: readonly TrainingStep[] | undefined;
  readonly result: Pick<
    CardFacts,
    "sparsity" | "parameters" | "widths" | "runtimes" | "calibration" | "heldOut"
  >;
  /** What the run did up to now. */
  readonly outcome: () => Outcome;
}

/** Writes the output. @returns where its report is */
async function save(
  run: Run,
  pruned: Model,
  { plan, curve, result, outcome }: Saving,
): Promise<Pick<PruneResult, "report" | "report_problem">> {
  const { config, model, metric, allocation, started, onProgress } = run;
  const resolved = { ...config, allocation, metric: metric.name };
  const text = formatRunConfig(resolved);
  const card = modelCard({
    ...result,
    base: baseName(config.model),
    method: config.method,
    metric: metric.name,
    allocation,
    recover: config.recover,
    plan: config.plan,
    seed: config.seed,
    remoteCode: hfForm(pruned.spec).remoteCode,
    config: text,
  });
  const documents = new Map([
    ["README.md", card],
    ["gprune.yaml", text],
    ["plan.json", formatPlan(plan)],
    ...(curve === undefined ? [] : [["training.json", formatCurve(curve)] as const]),
  ]);
  let problem: string | null = null;
  await exportHuggingFace(pruned, config.output, {
    dtype: config.dtype,
    documents,
    lastDocuments: async () => {
      const record = runRecord(outcome(), { model, started, settings: resolved });
      const written = await runDocuments({ record, plan, curve, report: config.report });
      problem = written.problem;
      return written.documents;
    },
    onProgress,
  });
  const report = config.report && problem === null ? join(config.output, "report.html") : null;
  return { report, report_problem: problem };
}

/** `ORG/NAME` of a model on the hub, which links to it; any other as the user named it. */
function baseName(model: string): string {
  return parseHubAddress(model)?.id ?? model;
}

/** The loss curve as JSON, one step a line. */
function formatCurve(curve: readonly TrainingStep[]): string {
  return `[\n${curve.map((step) => JSON.stringify(step)).join(",\n")}\n]\n`;
}

/** A record that JSON can hold, for a plan's provenance. */
function toJson(value: Readonly<Record<string, unknown>>): PruningPlan["provenance"] {
  return JSON.parse(JSON.stringify(value)) as PruningPlan["provenance"];
}

function calibrationSummary(sets: readonly TokenSet[]): PruneResult["calibration"] {
  return Object.fromEntries(
    sets.map(({ name, windows }) => [
      name,
      { windows: windows.length, tokens: windows.reduce((sum, window) => sum + window.length, 0) },
    ]),
  );
}

/** Wall-clock seconds by stage. */
class Stopwatch {
  readonly seconds: Record<string, number> = {};
  #running: { readonly stage: string; readonly start: number } | null = null;

  async time<T>(stage: string, work: () => Promise<T>): Promise<T> {
    this.#running = { stage, start: performance.now() };
    const result = await work();
    Object.assign(this.seconds, this.secondsSoFar());
    this.#running = null;
    return result;
  }

  /** The stage that is under way included. */
  secondsSoFar(): Readonly<Record<string, number>> {
    if (this.#running === null) return { ...this.seconds };
    const { stage, start } = this.#running;
    return { ...this.seconds, [stage]: Math.round(performance.now() - start) / 1000 };
  }
}
