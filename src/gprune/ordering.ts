/**
 * The order in which each module's units are removed: by the base metric, or by the activation-independent one where
 * the verdict is `fallback`. Units are ranked only inside their module, so scores of two metrics are never compared.
 *
 * One module with verdict `activation` gives exactly the base metric's ranking of the space.
 */
import { internalError } from "../errors.ts";
import { ascendingOrder } from "../tensor/statistics.ts";
import type { UnitModules } from "./modules.ts";
import type { ModuleVerdict, Verdict } from "./reliability.ts";
import { checkedScores } from "./sensitivity.ts";

/** The units of one module; plain JSON. */
export interface ModuleOrder {
  readonly spaceId: string;
  readonly module: number;
  /** Which scores ordered the units. */
  readonly verdict: Verdict;
  /** Unit indices in the space, least important first; equal scores by index. */
  readonly units: readonly number[];
}

/** Modules of one space, the verdicts on them, and the scores of both metrics. */
export interface OrderingRequest {
  readonly modules: UnitModules;
  /** One for each module, by module number. */
  readonly verdicts: readonly ModuleVerdict[];
  /** Base metric on the pooled statistics, [units]. */
  readonly scores: Float64Array;
  /** Activation-independent metric, [units]. */
  readonly fallback: Float64Array;
}

/** The orders of a space's modules, by module number. Together they hold every unit once. */
export function moduleOrders(request: OrderingRequest): readonly ModuleOrder[] {
  const { modules: unitModules, verdicts } = request;
  const { spaceId, assignment, modules } = unitModules;
  if (verdicts.length !== modules.length) {
    throw internalError(`${spaceId}: expected ${modules.length} verdicts, got ${verdicts.length}`);
  }
  const rankings: Readonly<Record<Verdict, Uint32Array>> = {
    activation: ranking(request.scores, unitModules),
    fallback: ranking(request.fallback, unitModules),
  };
  return verdicts.map(({ verdict }, module) => {
    const units = Array.from(rankings[verdict]).filter((u) => assignment[u] === module);
    return { spaceId, module, verdict, units };
  });
}

/** All units of the space, least important first. */
function ranking(scores: Float64Array, { spaceId, assignment }: UnitModules): Uint32Array {
  return ascendingOrder(checkedScores(scores, { where: `scores of ${spaceId}`, units: assignment.length }));
}
