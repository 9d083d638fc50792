/** Which programs will load a run's result, as far as the settings tell; refuses a result that could not be written. */
import type { AllocationName } from "../base/choices.ts";
import { hasFfn } from "../model/ffn_layers.ts";
import { hfForm } from "../model/hf/form.ts";
import { channelCount, spacesOf } from "../model/spaces.ts";
import { hasUniformWidths, type ModelSpec, withBiases } from "../model/spec.ts";
import { uniform } from "../prune/allocate_uniform.ts";
import { queuesOf, type RemovalRequest, removalBudget } from "../prune/allocation.ts";
import { badPlan, makePlan, type PruningPlan, prunedSpec } from "../prune/plan.ts";
import { RemovalLedger, unranked } from "../prune/removal.ts";
import { uniformOutcomes } from "../prune/uniform_shape.ts";
import { findGgufTarget } from "./gguf_target.ts";
import { type ProgramSupport, programSupport } from "./program_support.ts";

/** A planned removal: its request, or the plan it applies. */
export interface PlannedRemoval extends RemovalRequest {
  /** The plan to apply, which must be for this model; null where the run makes one. */
  readonly plan: PruningPlan | null;
  /** How layers share the budget; absent where that is not known. */
  readonly allocation?: AllocationName;
}

/** A planned run: its removal, and what else decides which programs load the result. */
export interface ForeseenRun extends PlannedRemoval {
  /** Whether recovery adds biases to o_proj and down_proj. */
  readonly addsBiases: boolean;
  /** Why llama.cpp cannot have the tokenizer (model/gguf/vocabulary.ts); null or absent where it can. */
  readonly tokenizer?: string | null;
}

/**
 * Which programs will load the result. Where that depends on decisions of the run, the answers are joined by "or".
 * @throws GpruneError BAD_ARGUMENT for a sparsity that the minimum widths do not allow, or shape uniform for a model
 *   whose layers differ; BAD_PLAN for shape uniform with a plan that makes them differ; UNSUPPORTED for a result that
 *   no config.json describes
 */
export function foreseeSupport(run: ForeseenRun): ProgramSupport {
  const outcomes = outcomesOf(run).map((spec) => (run.addsBiases ? withOutputBiases(spec) : spec));
  for (const spec of outcomes) hfForm(spec);
  const answers = outcomes.map((spec) => programSupport(spec, { tokenizer: run.tokenizer ?? null }));
  const joined = (program: keyof ProgramSupport): string =>
    [...new Set(answers.map((answer) => answer[program]))].join(" or ");
  const programs = Object.keys(answers[0]!) as (keyof ProgramSupport)[];
  return Object.fromEntries(programs.map((program) => [program, joined(program)])) as ProgramSupport;
}

/**
 * Whether biases at output projections would keep a result of the run from loading in a stock class of transformers or
 * in llama.cpp, and nothing else does.
 */
export function biasesCostPrograms(run: PlannedRemoval): boolean {
  const conditions: readonly ((spec: ModelSpec) => boolean)[] = [
    (spec) => !hfForm(spec).remoteCode,
    (spec) => findGgufTarget(spec).target !== null,
  ];
  return outcomesOf(run).some((spec) =>
    conditions.some((loads) => loads(spec) && !loads(withOutputBiases(spec))),
  );
}

/** Specs that are representative of every possible result of the run. */
function outcomesOf(run: PlannedRemoval): readonly ModelSpec[] {
  if (run.plan !== null) return [plannedSpec(run, run.plan)];
  if (run.shape === "uniform") return uniformOutcomes(run);
  if (run.allocation === "uniform") return [uniformlyPruned(run)];
  const queues = queuesOf(unranked(run.spec), run);
  const ledger = new RemovalLedger(queues);
  ledger.grant(removalBudget(run, queues));
  // Nothing is removed where the budget is below the cheapest block.
  return [queues.some((queue) => ledger.fits(queue)) ? withUnequalWidths(run.spec) : run.spec];
}

/** The result of allocation `uniform`, whose widths do not depend on the scores. */
function uniformlyPruned(run: RemovalRequest): ModelSpec {
  const { spec } = run;
  const importance = new Map(
    spacesOf(spec).map((space) => [space.id, new Float64Array(channelCount(space))]),
  );
  return prunedSpec(spec, makePlan(spec, uniform.allocate({ ...run, importance })));
}

function plannedSpec({ spec, shape }: PlannedRemoval, plan: PruningPlan): ModelSpec {
  const planned = prunedSpec(spec, plan);
  if (shape !== "uniform" || hasUniformWidths(planned)) return planned;
  const problem = "shape uniform: expected the same widths in every layer, got different ones";
  throw badPlan(
    "plan",
    [problem],
    "Apply the plan with widths per layer (without --shape), or make a uniform plan (--shape uniform).",
  );
}

/**
 * The spec with a layer, or every expert of it, a neuron wider than before: nearly every run leaves layers of different
 * widths. It is the first one that others ought to be like, if there are any.
 */
function withUnequalWidths(spec: ModelSpec): ModelSpec {
  const widened = spec.layers.map((layer, index): ModelSpec => {
    const neurons = hasFfn(layer) ? layer.neurons + (layer.experts?.count ?? 1) : 0;
    return { ...spec, layers: spec.layers.with(index, { ...layer, neurons }) };
  });
  return widened.find((each) => !hasUniformWidths(each)) ?? widened[0]!;
}

function withOutputBiases({ layers, ...spec }: ModelSpec): ModelSpec {
  return { ...spec, layers: layers.map((layer) => withBiases(layer, ["o_proj", "down_proj"])) };
}
