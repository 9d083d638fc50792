/** What can be said before a run about who will load its result: enough to refuse early what cannot become anything. */
import { hfForm } from "../model/hf/form.ts";
import { hasUniformWidths, type ModelSpec, withBiases } from "../model/spec.ts";
import { queuesOf, type RemovalRequest, removalBudget } from "../prune/allocation.ts";
import { badPlan, type PruningPlan, prunedSpec } from "../prune/plan.ts";
import { RemovalLedger, unranked } from "../prune/removal.ts";
import { uniformOutcomes } from "../prune/uniform_shape.ts";
import { type Runtimes, runtimesOf } from "./runtimes.ts";

/** What a run is about to do. */
export interface ForeseenRun extends RemovalRequest {
  /** The plan to be carried out, if one was given; it must be for the model. */
  readonly plan: PruningPlan | null;
  /** Whether recovery puts biases on output projections. */
  readonly addsBiases: boolean;
  /** Why llama.cpp cannot have the tokenizer (model/gguf/vocabulary.ts); null or absent where it can. */
  readonly tokenizer?: string | null;
}

/**
 * Who will load the result. Where that depends on what the run decides, the answers are joined by "or".
 * @throws GpruneError BAD_ARGUMENT for a sparsity that the minimum widths do not allow, or shape uniform for a model
 *   whose layers differ; BAD_PLAN for a plan that makes them differ; UNSUPPORTED for what no configuration describes
 */
export function foreseeRuntimes(run: ForeseenRun): Runtimes {
  const outcomes = outcomesOf(run).map((spec) => (run.addsBiases ? recovered(spec) : spec));
  for (const spec of outcomes) hfForm(spec);
  const answers = outcomes.map((spec) => runtimesOf(spec, { tokenizer: run.tokenizer ?? null }));
  const joined = (program: keyof Runtimes): string =>
    [...new Set(answers.map((answer) => answer[program]))].join(" or ");
  const programs = Object.keys(answers[0]!) as (keyof Runtimes)[];
  return Object.fromEntries(programs.map((program) => [program, joined(program)])) as Runtimes;
}

/** Specs that stand for all that the run may end with. */
function outcomesOf(run: ForeseenRun): readonly ModelSpec[] {
  if (run.plan !== null) return [plannedSpec(run, run.plan)];
  if (run.shape === "uniform") return uniformOutcomes(run);
  const queues = queuesOf(unranked(run.spec), run);
  const ledger = new RemovalLedger(queues);
  ledger.grant(removalBudget(run, queues));
  // Nothing goes where the budget is less than the cheapest block.
  return [queues.some((queue) => ledger.fits(queue)) ? withUnlikeLayer(run.spec) : run.spec];
}

function plannedSpec({ spec, shape }: ForeseenRun, plan: PruningPlan): ModelSpec {
  const planned = prunedSpec(spec, plan);
  if (shape !== "uniform" || hasUniformWidths(planned)) return planned;
  const problem = "shape uniform: expected the same widths in every layer, got others";
  throw badPlan("plan", [problem], "Leave --shape out, or make a plan with --shape uniform.");
}

/** The model with one layer unlike the others, as nearly every run leaves it. */
function withUnlikeLayer({ layers, ...spec }: ModelSpec): ModelSpec {
  const [first, ...others] = layers;
  return { ...spec, layers: [{ ...first!, neurons: first!.neurons + 1 }, ...others] };
}

function recovered({ layers, ...spec }: ModelSpec): ModelSpec {
  return { ...spec, layers: layers.map((layer) => withBiases(layer, ["o_proj", "down_proj"])) };
}
