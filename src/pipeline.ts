/** The whole path from a model and texts to a smaller model, read top to bottom. */
import { join } from "node:path";
import { badArgument, requireCount } from "./base/arguments.ts";
import { type OnProgress, silent } from "./base/progress.ts";
import { type Checkpoints, interruptible } from "./base/stages.ts";
import type { WeightedTokenSet } from "./calibrate/calibrate.ts";
import { type Evidence, gatherEvidence, poolEvidence, type SplitEvidence } from "./calibrate/evidence.ts";
import type { Moments } from "./calibrate/moments.ts";
import { type MadeModel, type PassesBase, unpruned } from "./calibrate/passes.ts";
import { hasOwnText, learnable } from "./calibrate/windows.ts";
import { type RunConfig, refits, resolveRunConfig, type SettledConfig } from "./config.ts";
import { GpruneError } from "./errors.ts";
import type { MemoryPlan } from "./estimate/memory_plan.ts";
import { heldOutScores } from "./evaluate/held_out.ts";
import { writtenSpec } from "./export/hf.ts";
import { type Runtimes, runtimesOf } from "./export/runtimes.ts";
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
import { parameterCount } from "./model/spaces.ts";
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
import { RUN_FILES } from "./report/run_files.ts";
import { type FactsRecord, modelHashesIn, type RunFacts, readFacts, runFacts } from "./run/facts.ts";
import { decidesByText, learnsNothing, warningsOf, withOwnText } from "./run/inputs.ts";
import { type AskedRun, askedRun, type OpenedRun, type OpeningOptions, openRun } from "./run/opening.ts";
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

/** What a caller may want to hear while a run goes on, and to tell it. */
export interface PruneOptions {
  readonly onProgress?: OnProgress;
  /**
   * Called before anything is computed with who will load the result, as far as that is known then, and all settings.
   */
  readonly onForeseen?: (runtimes: Runtimes, config: SettledConfig) => void;
  /** Called before anything is computed with where that will be. */
  readonly onDevice?: (device: DeviceFound) => void;
  /** Called before anything is computed with what the user should know about the model or the plan, a sentence each. */
  readonly onWarning?: (text: string) => void;
  /** Called before anything is computed with what the run will hold in memory. */
  readonly onPlanned?: (plan: MemoryPlan) => void;
  /** Goes on with the unfinished run of the same output, if there is one; otherwise such a run is refused. */
  readonly resume?: boolean;
  /** Stops the run after the unit of work it is at, or in ten seconds, so that it can be resumed. */
  readonly signal?: AbortSignal;
  /** Seconds between two states that are kept of a stage, at least; 0 keeps all of them. 60 when absent. */
  readonly checkpointInterval?: number;
  /** Bytes of tensors in one file of the output; 5 GB when absent. */
  readonly maxShardBytes?: number;
  /** Where passes over texts are computed; in this process when absent. `gprune/workers` has one for many machines. */
  readonly openPasses?: (base: PassesBase) => Promise<ConnectedPasses>;
}

/**
 * Prunes a model: open, calibrate, score, allocate, cut, recover, save. What has been computed is kept in OUT.run until
 * the output is there; whatever ends a run, it can be resumed and writes the same bytes then.
 * @throws GpruneError when the input is wrong or the output cannot be written; LOCKED when another run is at it;
 *   INTERRUPTED after the signal; BAD_CHECKPOINT when what is to be resumed was another run, on another device for one;
 *   UNSUPPORTED when a device that is required is not there
 */
export async function prune(asked: RunConfig, options: PruneOptions = {}): Promise<PruneResult> {
  const { onProgress = silent, signal, resume = false, checkpointInterval: interval } = options;
  requireUsable(options);
  const config = resolveRunConfig(asked, "configuration");
  if (options.openPasses !== undefined) requireCpu(config);
  const run = await askedRun(config, options.onDevice);
  const { output } = run.config;
  const recorded = resume ? await readFacts(join(output, RUN_FILES.facts)) : null;
  if (recorded === null) await requireFreeDirectory(output);
  const stages = await RunDirectory.claim(output, { resume, signal, interval });
  try {
    const reporting = { ...options, onProgress: interruptible(onProgress, signal) };
    const result = await pruneModel({ ...run, stages, recorded }, reporting);
    stages.clear();
    return result;
  } catch (error) {
    // What led to numbers that are not finite leads there again.
    if (error instanceof GpruneError && error.code === "NOT_FINITE") stages.clear();
    throw error;
  } finally {
    await stages.leave();
  }
}

/** @throws GpruneError BAD_ARGUMENT for numbers out of their bounds */
function requireUsable({ checkpointInterval = 0, maxShardBytes = 1 }: PruneOptions): void {
  requireCount("maxShardBytes", maxShardBytes);
  if (!(checkpointInterval >= 0))
    throw badArgument("checkpointInterval", "seconds from 0 on", checkpointInterval);
}

/** @throws GpruneError BAD_ARGUMENT when a distributed run is to compute elsewhere than its workers do */
function requireCpu({ device }: RunConfig): void {
  if (device === "cpu") return;
  throw new GpruneError("BAD_ARGUMENT", `device: expected cpu for a distributed run, got ${device}`, {
    hint: "Workers compute on the CPU, so that the plan is that of a single machine to the byte.",
  });
}

/** A run that may go on, and keeps what it computes. */
interface KeptRun extends AskedRun {
  readonly stages: RunDirectory;
  /** Of an output that is there already. */
  readonly recorded: FactsRecord | null;
}

async function pruneModel(asked: KeptRun, options: PruneOptions): Promise<PruneResult> {
  const { stages, recorded } = asked;
  const { onProgress = silent, onForeseen, onPlanned = () => {} } = options;
  const { maxShardBytes, openPasses, signal } = options;
  const started = new Date();
  const clock = new Stopwatch(stages);
  const time: OpeningOptions["time"] = (stage, work) => clock.time(stage, work);
  const run = await openRun(asked, { onProgress, onForeseen, time });
  const { model, config, given } = run;
  let runtime: Runtime | undefined;
  let connected: ConnectedPasses | undefined;
  try {
    const sources = { ...run, plan: given, maxShardBytes };
    const facts = await time("hash", () => runFacts(config, sources, onProgress));
    const hashes = modelHashesIn(facts);
    const weighed = { model, config, weights: weightsHash(hashes) };
    for (const text of warningsOf(given, weighed)) options.onWarning?.(text);
    const finished = await finishedResult({ config, device: run.device, recorded }, facts);
    if (finished !== null) return finished;
    const { maxMemory, threads } = config;
    stages.begin(facts.computed, { written: facts.written, limits: toJson({ maxMemory, threads }) });
    const { memory } = await planRoom({ ...run, kept: stages.keptBytes });
    onPlanned(memory);
    // Before anything is computed, so that a server that is not there is reported at once.
    connected = await openPasses?.({ model, hashes, signal });
    runtime = new Runtime({
      threads: config.threads,
      memory: { ...memory.places, scratch: stages },
      device: run.device.used,
    });
    const writing = { model, runtime, stages, onProgress };
    const sets = hasOwnText(config)
      ? await clock.time("sample", () => withOwnText(config, run.sets, writing))
      : run.sets;
    const passes = runPasses(model, runtime, connected);
    const computing = { started, runtime, passes, sets, stages, memory, facts, onProgress, maxShardBytes };
    return await computeAll({ ...run, ...computing }, clock);
  } finally {
    await closeAll([connected, runtime, model.weights]);
  }
}

/**
 * Closes what a run has opened. What ended the run is the error worth reporting, and each is closed whatever the others
 * do.
 */
async function closeAll(opened: readonly ({ close(): Promise<void> } | undefined)[]): Promise<void> {
  for (const one of opened) await one?.close().catch(() => {});
}

async function computeAll(run: Run, clock: Stopwatch): Promise<PruneResult> {
  const { config, given, model, passes, sets, stages, onProgress } = run;
  const learned = await clock.time("calibrate", () => learnFromSets(run));
  const plan = given ?? (await clock.time("decide", () => decide(run, learned)));
  const { made, curve } = await clock.time("recover", () => recover(run, plan, learned));
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
    runtimes: runtimesOf(pruned.spec, { tokenizer: run.tokenizerObstacle }),
    held_out: heldOut,
    calibration: usesOf(sets, config),
  };
  const speed = learned.tokens === 0 ? null : learned.tokens / clock.seconds.calibrate!;
  const measured = (): Measurements =>
    measurements(config, { timings: clock.secondsSoFar(), speed, memory: run.memory, device: run.device });
  const findings = { plan, curve, outcome, measured };
  const reported = await clock.time("save", () => save(run, pruned, findings));
  return { output: config.output, ...outcome, ...measured(), ...reported };
}

/** What the stages of one run share. */
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

/** What the sets say of the model. */
interface Learned {
  /** Tokens that went through it; 0 where nothing was measured. */
  readonly tokens: number;
  /** Null where it is not needed. */
  readonly knowledge: Knowledge | null;
  /** What least squares needs; empty without it. */
  readonly moments: Moments;
}

/** What the sets say of its units, each for itself and pooled by their weights. */
interface Knowledge {
  readonly sets: ReadonlyMap<string, SplitEvidence>;
  readonly pooled: Evidence;
}

/**
 * Gathers what later stages use and no more: a plan, or a metric of weights alone, needs statistics only for
 * `--recover bias`.
 */
async function learnFromSets(run: Run): Promise<Learned> {
  const { config, given, model, passes, sets, metric, stages, onProgress } = run;
  const known = decidesByText(config, metric) || config.recover === "bias" ? sets : [];
  const fitted = refits(config.recover) ? weightedSets(run, config.refitSamples) : [];
  if (learnsNothing(sets) || known.length + fitted.length === 0)
    return { tokens: 0, knowledge: null, moments: new Map() };
  const gradients = metric.input === "gradients" && given === null;
  const options = { gradients, fitted, onProgress, stages };
  const { evidence, moments, tokens } = await gatherEvidence({ model, passes }, known, options);
  if (known.length === 0) return { tokens, knowledge: null, moments };
  const weights = config.calibration.map(({ weight }) => weight);
  const pooled = poolEvidence(
    Array.from(evidence.values(), ({ whole }) => whole),
    weights,
  );
  return { tokens, knowledge: { sets: evidence, pooled }, moments };
}

/** The plan, decided by the method. */
async function decide(run: Run, { knowledge, moments }: Learned): Promise<PruningPlan> {
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
  if (method === "gprune" && knowledge !== null) {
    const decision = await decideGprune({ ...gpruneRequest(run, knowledge), moments });
    return makePlan(
      model.spec,
      decision.keep,
      provenanceOf({
        ...provenance,
        rounds: decision.rounds,
        ...explainDecision(decision),
      }),
    );
  }
  return makePlan(model.spec, await decidePlain(run, knowledge), provenanceOf(provenance));
}

/** A metric and an allocation, nothing more. */
async function decidePlain(run: Run, knowledge: Knowledge | null): Promise<Keep> {
  const { config, model, metric } = run;
  const { allocation, sparsity, roundTo, shape, seed } = config;
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

function gpruneRequest(
  { config, ...run }: Run,
  { sets: evidence, pooled }: Knowledge,
): Omit<GpruneRequest, "moments"> {
  const weights = new Map(config.calibration.map(({ name, weight }) => [name, weight]));
  return { ...config, ...run, evidence, pooled, weights };
}

/** A model that makes up for what it lost. */
interface Recovered {
  readonly made: MadeModel;
  /** The loss curve when it was trained. */
  readonly curve?: readonly TrainingStep[];
}

async function recover(run: Run, plan: PruningPlan, { knowledge, moments }: Learned): Promise<Recovered> {
  const { config, model, passes, stages, onProgress } = run;
  const { keep } = plan;
  if (config.recover === "none" || learnsNothing(run.sets)) return { made: makeModel(model, { keep }) };
  if (config.recover === "bias") {
    return { made: await makeCompensated(model, keep, knowledge!.pooled.stats) };
  }
  const refitted = await stages.run("refit", (checkpoints: Checkpoints<Refitted>) =>
    passes.refit({ plan, moments, stage: "recover", onProgress, checkpoints }),
  );
  const student = makeModel(model, { keep, ...refitted });
  return config.recover === "lstsq" ? { made: student } : train(run, student);
}

/** At most `count` windows of every set. */
function weightedSets({ config, sets }: Run, count: number): readonly WeightedTokenSet[] {
  return sets.map((set, d) => ({ ...learnable(set, count), weight: config.calibration[d]!.weight }));
}

/** Distills the dense model into the student, on all text of the sets but what is held out. */
async function train(run: Run, { model: student, recipe }: MadeModel): Promise<Recovered> {
  const { config, model: dense, runtime, stages, onProgress } = run;
  const { leadingId } = Tokenizer.of(dense);
  const sets = weightedSets(run, Number.POSITIVE_INFINITY);
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

/** A record that JSON can hold, for a plan's provenance. */
function provenanceOf(value: Readonly<Record<string, unknown>>): PruningPlan["provenance"] {
  return toJson(value) as PruningPlan["provenance"];
}
