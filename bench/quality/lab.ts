/**
 * Prunes one model in many ways without saving it, and evaluates the results. Tokens, activation statistics and gate
 * gradients of every set are cached, since they are common to many rows.
 */

import type { WeightedTokenSet } from "../../src/calibrate/calibrate.ts";
import { gatherEvidence, poolEvidence, type SplitEvidence } from "../../src/calibrate/evidence.ts";
import { measuredSets } from "../../src/calibrate/measured_sets.ts";
import type { Moments } from "../../src/calibrate/moments.ts";
import type { CalibrationStats } from "../../src/calibrate/stats.ts";
import type { TextSet } from "../../src/calibrate/text_sets.ts";
import { decidingSet, learnable, type SampledSet } from "../../src/calibrate/windows.ts";
import type { SettledConfig } from "../../src/config.ts";
import { type Evaluation, evaluate } from "../../src/evaluate/evaluate.ts";
import { gatherTokenSet } from "../../src/evaluate/own_text.ts";
import { decideGprune } from "../../src/gprune/gprune.ts";
import { DecoderRunner } from "../../src/graph/decoder/decoder_runner.ts";
import { ROOMY } from "../../src/graph/runtime/memory_policy.ts";
import { Runtime } from "../../src/graph/runtime/runtime.ts";
import { openModel } from "../../src/model/checkpoint/checkpoint.ts";
import type { Model } from "../../src/model/model.ts";
import { Tokenizer } from "../../src/model/tokenizer/tokenizer.ts";
import { allocationByName } from "../../src/prune/allocate.ts";
import { type Keep, makePlan, type PruningPlan } from "../../src/prune/plan.ts";
import { applyPlan } from "../../src/prune/surgery.ts";
import { distill } from "../../src/recover/distill.ts";
import { refitLeastSquares } from "../../src/recover/least_squares.ts";
import { compensateMeans } from "../../src/recover/mean_compensation.ts";
import { type RunPasses, runPasses } from "../../src/recover/passes.ts";
import { willAddBiases } from "../../src/run/opening.ts";
import { scoreModel } from "../../src/score/importance.ts";
import { metricByName } from "../../src/score/registry.ts";

/** Texts and tasks to evaluate a model on. */
export interface Examination {
  readonly texts: readonly TextSet[];
  readonly tasks: readonly TextSet[];
  readonly seqLen: number;
  /** At most this many windows of each text. */
  readonly windows: number;
  /** At most this many documents of each task. */
  readonly documents: number;
}

/** A dense model, and everything cached for pruning it. */
export class Lab {
  readonly dense: Model;
  readonly #runtime = new Runtime({ memory: { ...ROOMY, keepActivations: true } });
  readonly #passes: RunPasses;
  readonly #tokenizer: Tokenizer;
  readonly #sets = new Map<string, SampledSet>();
  readonly #evidence = new Map<string, SplitEvidence>();
  /** Moments of the last choice of sets only, since they are large. */
  readonly #momentsOf = new Map<string, Moments>();

  private constructor(dense: Model) {
    this.dense = dense;
    this.#passes = runPasses(dense, this.#runtime);
    this.#tokenizer = Tokenizer.fromFiles(dense.files);
  }

  static async open(model: string): Promise<Lab> {
    return new Lab(await openModel(model));
  }

  async close(): Promise<void> {
    await this.#runtime.close();
    await this.dense.weights.close();
  }

  /** Decides as `prune` does with this configuration. */
  async plan(config: SettledConfig): Promise<PruningPlan> {
    const evidence = await this.#evidenceOf(config);
    const keep =
      config.method === "none" ? this.#keepByMetric(config, evidence) : this.#decide(config, evidence);
    return makePlan(this.dense.spec, await keep);
  }

  /** The model pruned by a plan, with the configuration's recovery. */
  async pruned(plan: PruningPlan, config: SettledConfig): Promise<Model> {
    const { dense } = this;
    switch (config.recover) {
      case "none":
        return applyPlan(dense, plan);
      case "bias":
        return compensateMeans(dense, plan, await this.#pooledStats(config));
      case "lstsq":
        return this.#refit(plan, config);
      case "distill":
        return this.#distill(await this.#refit(plan, config), config);
    }
  }

  async #refit(plan: PruningPlan, config: SettledConfig): Promise<Model> {
    const moments = await this.#moments(config);
    const addsBiases = this.#addsBiases(config);
    return refitLeastSquares({ dense: this.dense, plan, runtime: this.#runtime, moments, addsBiases });
  }

  /** As `prune` decides. */
  #addsBiases(config: SettledConfig): boolean {
    return willAddBiases(config, { ...config, spec: this.dense.spec, plan: null });
  }

  async #distill(student: Model, config: SettledConfig): Promise<Model> {
    const { steps, learningRate, seed } = config;
    const sets = await this.#weightedSets(config, Number.POSITIVE_INFINITY);
    const { leadingId } = this.#tokenizer;
    const models = { dense: this.dense, student, runtime: this.#runtime };
    return (await distill({ ...models, sets, leadingId, steps, learningRate, seed })).model;
  }

  /** Perplexities on texts and accuracies on tasks. */
  async examine(
    model: Model,
    { texts, tasks, seqLen, windows, documents }: Examination,
  ): Promise<Pick<Evaluation, "texts" | "tasks">> {
    const both = { model, runtime: this.#runtime };
    const read = await evaluate(both, texts, { seqLen, limit: windows });
    const answered = await evaluate(both, [], { seqLen, tasks, limit: documents });
    return { texts: read.texts, tasks: answered.tasks };
  }

  async #keepByMetric(config: SettledConfig, evidence: SetEvidence): Promise<Keep> {
    const { sparsity, roundTo, shape, seed } = config;
    const metric = metricByName(config.metric);
    const importance = await scoreModel({
      model: this.dense,
      metric,
      seed,
      ...poolEvidence(evidence, config.calibration),
    });
    const allocation = allocationByName(config.allocation ?? metric.allocation);
    return allocation.allocate({ spec: this.dense.spec, importance, sparsity, roundTo, shape });
  }

  async #decide(config: SettledConfig, evidence: SetEvidence): Promise<Keep> {
    const sets = await this.#sampledSets(config);
    const { keep } = await decideGprune({
      ...config,
      model: this.dense,
      runtime: this.#runtime,
      passes: this.#passes,
      sets: sets.map((set, d) => {
        return { ...decidingSet(set, config.refitSamples), weight: config.calibration[d]!.weight };
      }),
      evidence,
      moments: config.refine ? await this.#moments(config) : new Map(),
      metric: metricByName(config.metric),
      fallback: metricByName(config.fallback),
      addsBiases: this.#addsBiases(config),
      allocation: config.allocation ?? "learned",
    });
    return keep;
  }

  /** Moments for least squares, from a configuration's sets. */
  async #moments(config: SettledConfig): Promise<Moments> {
    const sets = await this.#weightedSets(config, config.refitSamples);
    const named = config.calibration.map((set) => [set.name, set.weight, keyOf(set, config)]);
    const key = JSON.stringify([named, config.refitSamples]);
    const cached = this.#momentsOf.get(key);
    if (cached !== undefined) return cached;
    const { moments } = await this.#passes.activations(measuredSets([], sets));
    this.#momentsOf.clear();
    this.#momentsOf.set(key, moments);
    return moments;
  }

  async #weightedSets(config: SettledConfig, count: number): Promise<readonly WeightedTokenSet[]> {
    const sets = await this.#sampledSets(config);
    return sets.map((set, d) => ({ ...learnable(set, count), weight: config.calibration[d]!.weight }));
  }

  async #sampledSets(config: SettledConfig): Promise<readonly SampledSet[]> {
    const sets: SampledSet[] = [];
    for (const set of config.calibration) sets.push(await this.#sampled(set, config));
    return sets;
  }

  async #sampled(set: TextSet, config: SettledConfig): Promise<SampledSet> {
    const { samples, seqLen, seed } = config;
    const key = keyOf(set, config);
    const cached = this.#sets.get(key);
    if (cached !== undefined) return cached;
    const sampling = { samples, seqLen, seed };
    const writer = { runner: new DecoderRunner(this.dense, this.#runtime), tokenizer: this.#tokenizer };
    const sampled = await gatherTokenSet(set, writer, sampling);
    this.#sets.set(key, sampled);
    return sampled;
  }

  /** Evidence of all sets; cached by set, since it does not depend on the others. */
  async #evidenceOf(config: SettledConfig): Promise<SetEvidence> {
    const gradients = metricByName(config.metric).input === "gradients";
    const evidence = new Map<string, SplitEvidence>();
    for (const set of config.calibration) {
      const key = keyOf(set, config);
      let ofSet = this.#evidence.get(key);
      if (ofSet === undefined || (gradients && ofSet.whole.gates === undefined)) {
        const sampled = await this.#sampled(set, config);
        const dense = { model: this.dense, passes: this.#passes };
        ofSet = (await gatherEvidence(dense, [sampled], { gradients })).evidence.get(set.name)!;
        this.#evidence.set(key, ofSet);
      }
      evidence.set(set.name, ofSet);
    }
    return evidence;
  }

  async #pooledStats(config: SettledConfig): Promise<CalibrationStats> {
    return poolEvidence(await this.#evidenceOf(config), config.calibration).stats;
  }
}

/** Evidence of a configuration's sets, by name. */
type SetEvidence = ReadonlyMap<string, SplitEvidence>;

/** Cache key of the windows of a set. */
function keyOf({ path }: TextSet, { samples, seqLen, seed }: SettledConfig): string {
  return JSON.stringify([path, samples, seqLen, seed]);
}
