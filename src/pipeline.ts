/** The whole path from a model and texts to a smaller model; reads top to bottom. */
import { join } from "node:path";
import { badArgument, requireCount } from "./base/arguments.ts";
import { RUN_FILES } from "./base/file_names.ts";
import { type OnProgress, silent } from "./base/progress.ts";
import { type Checkpoints, interruptible } from "./base/stages.ts";
import type { TokenSet, WeightedTokenSet } from "./calibrate/calibrate.ts";
import { gatherEvidence, poolEvidence, type SplitEvidence } from "./calibrate/evidence.ts";
import type { Moments } from "./calibrate/moments.ts";
import { type MadeModel, type PassesBase, unpruned } from "./calibrate/passes.ts";
import { hasOwnText } from "./calibrate/text_sets.ts";
import { decidingSet, learnable } from "./calibrate/windows.ts";
import { type RunConfig, type RunSettings, refits, resolveRunConfig, type SettledConfig } from "./config.ts";
import { GpruneError, hasCode } from "./errors.ts";
import type { MemoryPlan } from "./estimate/memory_plan.ts";
import { heldOutScores } from "./evaluate/held_out.ts";
import { writtenSpec } from "./export/hf.ts";
import { type ProgramSupport, programSupport } from "./export/program_support.ts";
import { explainDecision } from "./gprune/explanation.ts";
import { decideGprune, type GpruneRequest } from "./gprune/gprune.ts";
import type { DeviceFound } from "./graph/runtime/device_check.ts";
import { Runtime } from "./graph/runtime/runtime.ts";
import { toJson } from "./io/files/json_document.ts";
import type { WriteDirectory } from "./io/files/output_directory.ts";
import { requireFreeDirectory } from "./io/files/output_place.ts";
import { RunDirectory } from "./io/run/directory.ts";
import { weightsHash } from "./model/checkpoint/model_hashes.ts";
import type { Model } from "./model/model.ts";
import { parameterCount } from "./model/parameter_counts.ts";
import { expertCounts, type ModelSpec } from "./model/spec.ts";
import { Tokenizer } from "./model/tokenizer/tokenizer.ts";
import { allocationByName } from "./prune/allocate.ts";
import {
  achievedSparsity,
  type Keep,
  makePlan,
  PLANNED_WEIGHTS,
  type PruningPlan,
  widths,
} from "./prune/plan.ts";
import { trainTensors } from "./recover/distill.ts";
import type { Refitted } from "./recover/least_squares.ts";
import { type ConnectedPasses, type RunPasses, runPasses } from "./recover/passes.ts";
import { makeCompensated, makeModel } from "./recover/recipe.ts";
import type { TrainingSnapshot, TrainingStep } from "./recover/training_state.ts";
import { type FactsRecord, modelHashesIn, type RunFacts, readFacts, runFacts } from "./run/facts.ts";
import { decidesByText, fillOwnSet, warningsOf } from "./run/inputs.ts";
import { type OpenedRun, type OpeningOptions, openRun, type PreparedRun, prepareRun } from "./run/opening.ts";
import { type Findings, finishedResult, saveRun } from "./run/output.ts";
import { planRoom } from "./run/preflight.ts";
import {
  type Measurements,
  measurements,
  type PruneResult,
  type RunOutcome,
  Stopwatch,
  usesOf,
} from "./run/result.ts";
import { scoreModel } from "./score/importance.ts";
import type { AnyTensor } from "./tensor/stash.ts";

/** Options of {@link prune}: callbacks, interruption and resuming, and where passes are computed. */
export interface PruneOptions {
  readonly onProgress?: OnProgress;
  /** Called before anything is computed with all settings and the programs that will load the result, as foreseen. */
  readonly onForeseen?: (support: ProgramSupport, config: SettledConfig) => void;
  /** Called before anything is computed with the device in use. */
  readonly onDevice?: (device: DeviceFound) => void;
  /** Called before anything is computed with every warning about the model, the sets or the plan, a sentence each. */
  readonly onWarning?: (text: string) => void;
  /** Called before anything is computed with the memory that the run will hold. */
  readonly onPlanned?: (plan: MemoryPlan) => void;
  /** Resumes an unfinished run of the same output, if there is one. Without it such a run is an error. */
  readonly resume?: boolean;
  /** Stops the run after the current unit of work, or in ten seconds, so that it can be resumed. */
  readonly signal?: AbortSignal;
  /** Least seconds between two saved states of a stage; 0 saves every state. 60 when absent. */
  readonly checkpointInterval?: number;
  /** Largest number of bytes of tensors in one shard of the output; 5 GB when absent. */
  readonly maxShardBytes?: number;
  /** Where passes over texts are computed; in this process when absent. `gprune/workers` has one for many machines. */
  readonly openPasses?: (base: PassesBase) => Promise<ConnectedPasses>;
}

/**
 * Prunes a model: open, calibrate, score, allocate, cut, recover, save. Settings that are missing have the defaults of
 * {@link resolveRunConfig}. Finished stages are kept in OUT.run until the
 * output is written: whatever ends a run, it can be resumed and then writes the same bytes.
 * @throws GpruneError when the input is wrong or the output cannot be written; LOCKED when another run is writing it;
 *   INTERRUPTED after the signal; BAD_CHECKPOINT when the run to be resumed differs, for instance in its device;
 *   UNSUPPORTED when a required device is missing
 */
export async function prune(settings: RunSettings, options: PruneOptions = {}): Promise<PruneResult> {
  const { onProgress = silent, signal, resume = false, checkpointInterval: interval } = options;
  requireUsable(options);
  const config = resolveRunConfig(settings, "configuration");
  if (options.openPasses !== undefined) requireCpu(config);
  const run = await prepareRun(config, options.onDevice);
  await earlierOutput(run.config, resume);
  const stages = await RunDirectory.claim(run.config.output, { resume, signal, interval });
  try {
    // Another holder of the directory, for which the claim waits, may have completed the output meanwhile.
    const recorded = await earlierOutput(run.config, resume);
    const reporting = { ...options, onProgress: interruptible(onProgress, signal) };
    const result = await pruneModel({ ...run, stages, recorded }, reporting);
    stages.clear();
    return result;
  } catch (error) {
    // The kept stages would lead to the same values that are not finite.
    if (hasCode(error, "NOT_FINITE")) stages.clear();
    throw error;
  } finally {
    await stages.leave();
  }
}

/**
 * Facts of an output that exists already; null without one.
 * @param resume - whether there may be one
 * @throws GpruneError OUTPUT_EXISTS, OUTPUT_FAILED
 */
async function earlierOutput({ model, output }: RunConfig, resume: boolean): Promise<FactsRecord | null> {
  const recorded = resume ? await readFacts(join(output, RUN_FILES.facts)) : null;
  if (recorded === null) await requireFreeDirectory(output, model);
  return recorded;
}

/** @throws GpruneError BAD_ARGUMENT for numbers out of their bounds */
function requireUsable({ checkpointInterval = 0, maxShardBytes = 1 }: PruneOptions): void {
  requireCount("maxShardBytes", maxShardBytes);
  if (!(checkpointInterval >= 0))
    throw badArgument("checkpointInterval", "a number of seconds, at least 0", checkpointInterval);
}

/** @throws GpruneError BAD_ARGUMENT for a distributed run on another device than its workers' CPU */
function requireCpu({ device }: RunConfig): void {
  if (device === "cpu") return;
  throw new GpruneError("BAD_ARGUMENT", `device: expected cpu for a distributed run, got ${device}`, {
    hint: "Workers compute on the CPU, so that the plan has the same bytes as on one machine.",
  });
}

/** A prepared run with the directory that keeps its stages. */
interface KeptRun extends PreparedRun {
  readonly stages: RunDirectory;
  /** Facts of an output that exists already; null without one. */
  readonly recorded: FactsRecord | null;
}

async function pruneModel(prepared: KeptRun, options: PruneOptions): Promise<PruneResult> {
  const { stages, recorded } = prepared;
  const { onProgress = silent, onForeseen, onPlanned = () => {} } = options;
  const { maxShardBytes, openPasses, signal } = options;
  const started = new Date();
  const clock = new Stopwatch(stages);
  const time: OpeningOptions["time"] = (stage, work) => clock.time(stage, work);
  const run = await openRun(prepared, { onProgress, onForeseen, time });
  const { model, config, given } = run;
  let runtime: Runtime | undefined;
  let connected: ConnectedPasses | undefined;
  try {
    const sources = { ...run, plan: given, maxShardBytes };
    const facts = await time("hash", () => runFacts(config, sources, onProgress));
    const hashes = modelHashesIn(facts);
    const warnings = warningsOf(given, { model, config, weights: weightsHash(hashes) });
    for (const text of warnings) options.onWarning?.(text);
    const finished = await finishedResult({ config, device: run.device, recorded }, facts);
    if (finished !== null) return finished;
    const { maxMemory, threads } = config;
    stages.begin(facts.computed, { written: facts.written, limits: toJson({ maxMemory, threads }) });
    const { memory } = await planRoom({ ...run, kept: stages.keptBytes });
    onPlanned(memory);
    // Connects before anything is computed, so that a missing server is reported at once.
    connected = await openPasses?.({ model, hashes, signal });
    runtime = new Runtime({
      threads: config.threads,
      memory: { ...memory.places, scratch: stages },
      device: run.device.used,
    });
    const writing = { model, runtime, stages, onProgress };
    const sets = hasOwnText(config)
      ? await clock.time("sample", () => fillOwnSet(config, run.sets, writing))
      : run.sets;
    const passes = runPasses(model, runtime, connected);
    const computing = { started, runtime, passes, sets, stages, memory, facts, onProgress, maxShardBytes };
    return await computeAll({ ...run, ...computing }, clock);
  } finally {
    await closeAll([connected, runtime, model.weights]);
  }
}

/** Closes the run's resources. Errors of closing are ignored: all are closed, and the error of the run is reported. */
async function closeAll(resources: readonly ({ close(): Promise<void> } | undefined)[]): Promise<void> {
  for (const resource of resources) await resource?.close().catch(() => {});
}

/** A run with everything that its stages share. */
interface Run extends OpenedRun {
  readonly started: Date;
  readonly runtime: Runtime;
  readonly passes: RunPasses;
  readonly stages: RunDirectory;
  readonly memory: MemoryPlan;
  readonly facts: RunFacts;
  readonly onProgress: OnProgress;
  readonly maxShardBytes: number | undefined;
}

async function computeAll(run: Run, clock: Stopwatch): Promise<PruneResult> {
  const { config, given, model, passes, sets, stages, onProgress } = run;
  const calibrated = await clock.time("calibrate", () => calibrateSets(run));
  const plan = given ?? (await clock.time("decide", () => decide(run, calibrated)));
  const { made, curve } = await clock.time("recover", () => recover(run, plan, calibrated));
  const { model: pruned } = made;
  const achieved = achievedSparsity(plan, model.spec);
  const pair = { dense: unpruned(model), pruned: made };
  const heldOut = await clock.time("check", () =>
    stages.run("check", () => heldOutScores(passes, pair, { sets, onProgress })),
  );
  const outcome: RunOutcome = {
    sparsity: { asked: given === null ? config.sparsity : achieved, achieved },
    parameters: { before: parameterCount(model.spec), after: parameterCount(writtenSpec(pruned.spec)) },
    widths: widths(plan, model.spec),
    ...expertsOf(model.spec),
    runtimes: programSupport(pruned.spec, { tokenizer: run.tokenizerObstacle }),
    held_out: heldOut,
    calibration: usesOf(sets, config),
  };
  const speed = calibrated.tokens === 0 ? null : calibrated.tokens / clock.seconds.calibrate!;
  const measured = (): Measurements =>
    measurements(config, { timings: clock.secondsSoFar(), speed, memory: run.memory, device: run.device });
  const findings = { plan, curve, outcome, measured };
  const reported = await clock.time("save", () => save(run, pruned, findings));
  return { output: config.output, ...outcome, ...measured(), ...reported };
}

function expertsOf(spec: ModelSpec): Pick<RunOutcome, "experts"> {
  const experts = expertCounts(spec);
  return experts === undefined ? {} : { experts };
}

/** Results of calibration. */
interface Calibrated {
  /** Number of tokens that went through the model; 0 if no pass was needed. */
  readonly tokens: number;
  /** Evidence of every set by name; null if neither the decision nor the recovery uses it. */
  readonly evidence: ReadonlyMap<string, SplitEvidence> | null;
  /** Moments for least squares; empty without it. */
  readonly moments: Moments;
}

/**
 * Runs the calibration sets through the model, and gathers only the evidence and moments that later stages use: if the
 * decision does not depend on the texts, only `--recover bias` needs evidence.
 */
async function calibrateSets(run: Run): Promise<Calibrated> {
  const { config, given, model, passes, sets, metric, stages, onProgress } = run;
  const measured = decidesByText(config, metric) || config.recover === "bias" ? sets : [];
  const fitted = refits(config.recover) ? learnableSets(run, config.refitSamples) : [];
  if (measured.length + fitted.length === 0) return { tokens: 0, evidence: null, moments: new Map() };
  const gradients = metric.input === "gradients" && given === null;
  const options = { gradients, fitted, onProgress, stages };
  const { evidence, moments, tokens } = await gatherEvidence({ model, passes }, measured, options);
  return { tokens, evidence: measured.length === 0 ? null : evidence, moments };
}

/** Decides on a plan, by the configured method. */
async function decide(run: Run, { evidence, moments }: Calibrated): Promise<PruningPlan> {
  const { config, model } = run;
  const { method, sparsity, shape, seed } = config;
  const sets = config.calibration.map(({ name, weight }) => ({ name, weight }));
  const provenance = {
    method,
    metric: run.metric.name,
    allocation: config.allocation,
    shape,
    sparsity,
    seed,
    sets,
    [PLANNED_WEIGHTS]: weightsHash(modelHashesIn(run.facts)) ?? undefined,
  };
  if (method === "gprune" && evidence !== null) {
    const decision = await decideGprune(gpruneRequest(run, evidence, moments));
    const reasons = { rounds: decision.rounds, ...explainDecision(decision) };
    return makePlan(model.spec, decision.keep, provenanceOf({ ...provenance, ...reasons }));
  }
  return makePlan(model.spec, await decidePlain(run, evidence), provenanceOf(provenance));
}

/** Decides by a metric and an allocation alone, without GPrune. */
async function decidePlain(run: Run, evidence: Calibrated["evidence"]): Promise<Keep> {
  const { config, model, metric } = run;
  const { allocation, sparsity, roundTo, shape, seed } = config;
  const layers = model.spec.layers.length;
  const importance = await scoreModel({
    model,
    metric,
    seed,
    ...(evidence && poolEvidence(evidence, config.calibration)),
    onLayer: (done) => run.onProgress({ stage: "score", done, total: layers, unit: "layers" }),
  });
  return allocationByName(allocation).allocate({ spec: model.spec, importance, sparsity, roundTo, shape });
}

function gpruneRequest(
  run: Run,
  evidence: ReadonlyMap<string, SplitEvidence>,
  moments: Moments,
): GpruneRequest {
  const { config, model, runtime, passes, metric, fallback, addsBiases, stages, onProgress } = run;
  const sets = weightedSets(
    config,
    run.sets.map((set) => decidingSet(set, config.refitSamples)),
  );
  const measured = { sets, evidence, moments };
  // The configuration has the names of the metrics, the run has the metrics.
  return { ...config, metric, fallback, model, runtime, passes, addsBiases, stages, onProgress, ...measured };
}

/** The pruned model after recovery. */
interface Recovered {
  readonly made: MadeModel;
  /** The loss curve when it was trained. */
  readonly curve?: readonly TrainingStep[];
}

async function recover(run: Run, plan: PruningPlan, { evidence, moments }: Calibrated): Promise<Recovered> {
  const { config, model, passes, stages, onProgress } = run;
  const { keep } = plan;
  if (config.recover === "none") return { made: makeModel(model, { keep }) };
  if (config.recover === "bias") {
    const { stats } = poolEvidence(evidence!, config.calibration);
    return { made: await makeCompensated(model, keep, stats) };
  }
  const refitted = await stages.run("refit", (checkpoints: Checkpoints<Refitted>) =>
    passes.refit({ plan, moments, addsBiases: run.addsBiases, stage: "recover", onProgress, checkpoints }),
  );
  const student = makeModel(model, { keep, ...refitted });
  return config.recover === "lstsq" ? { made: student } : train(run, student);
}

/** At most `count` windows of every set, with the set's weight. */
function learnableSets({ config, sets }: Run, count: number): readonly WeightedTokenSet[] {
  return weightedSets(
    config,
    sets.map((set) => learnable(set, count)),
  );
}

/** The sets of a configuration, in its order, with their weights. */
function weightedSets<T extends TokenSet>(
  { calibration }: SettledConfig,
  sets: readonly T[],
): readonly (T & WeightedTokenSet)[] {
  return sets.map((set, d) => ({ ...set, weight: calibration[d]!.weight }));
}

/** Distills the dense model into the student, on all windows of the sets that are not held out. */
async function train(run: Run, { model: student, recipe }: MadeModel): Promise<Recovered> {
  const { config, model: dense, runtime, stages, onProgress } = run;
  const { leadingId } = Tokenizer.of(dense);
  const sets = learnableSets(run, Number.POSITIVE_INFINITY);
  const { steps, learningRate, seed } = config;
  const request = { dense, student, runtime, sets, leadingId, steps, learningRate, seed };
  const { tensors, curve } = await stages.run("distill", (checkpoints: Checkpoints<TrainingSnapshot>) =>
    trainTensors({ ...request, onProgress, checkpoints }),
  );
  const trained = new Map<string, AnyTensor>([...(recipe.tensors ?? []), ...tensors]);
  return { made: makeModel(dense, { ...recipe, tensors: trained }), curve };
}

function save(run: Run, pruned: Model, findings: Findings): ReturnType<typeof saveRun> {
  const { config, model, started, stages, facts, onProgress, maxShardBytes } = run;
  const write: WriteDirectory = (directory, fill) => stages.writeOutput(directory, fill);
  return saveRun(
    { settings: config, model, started, facts, write, onProgress, maxShardBytes },
    pruned,
    findings,
  );
}

/** A record as JSON values, for a plan's provenance. */
function provenanceOf(value: Readonly<Record<string, unknown>>): PruningPlan["provenance"] {
  return toJson(value) as PruningPlan["provenance"];
}
