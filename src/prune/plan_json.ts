/**
 * Plans as text: read through a zod schema, written as deterministic JSON.
 */
import { z } from "zod";
import { plainName } from "../base/plain_text.ts";
import { GpruneError } from "../errors.ts";
import { type JsonLimits, OWN_JSON_LIMITS, parseJson as parseLimited } from "../io/files/json.ts";
import { formatDocument } from "../io/files/json_document.ts";
import { MAX_LAYERS } from "../model/spec.ts";
import { badPlan, keepProblems, type PruningPlan } from "./plan.ts";

/** Limits on a plan.json that is read. */
export const PLAN_LIMITS: JsonLimits = OWN_JSON_LIMITS;

const NOT_OURS = "Give the plan.json that gprune prune wrote.";

const count = z.int().positive();
const perLayer = z.array(count).max(MAX_LAYERS);
/** 0 where a layer has none. */
const unitsPerLayer = z.array(z.int().nonnegative()).max(MAX_LAYERS);

const planSchema = z.strictObject({
  format: z.literal("gprune-plan"),
  version: z.literal(1),
  base: z.strictObject({
    family: z.string(),
    hiddenSize: count,
    headDim: count,
    neurons: unitsPerLayer,
    kvGroups: unitsPerLayer,
    groupSizes: perLayer,
  }),
  keep: z.record(z.string(), z.array(z.int().nonnegative())),
  provenance: z.record(z.string(), z.json()),
});

/**
 * Reads a plan. `validatePlan` checks whether it fits a model.
 * @param where - the file's name, for the message
 * @throws GpruneError BAD_PLAN when the text is not JSON or exceeds the limits of json.ts, is not a plan, or names
 *   units that its own shapes do not have
 */
export function parsePlan(text: string, where: string): PruningPlan {
  const result = planSchema.safeParse(parseJson(text, where));
  if (!result.success) {
    const problems = result.error.issues.map(
      ({ path, message }) => `${plainName(path.join(".")) || "plan"}: ${message}`,
    );
    throw badPlan(where, problems, NOT_OURS);
  }
  const plan: PruningPlan = result.data;
  const problems = keepProblems(plan);
  if (problems.length > 0) throw badPlan(where, problems, NOT_OURS);
  return plan;
}

/** A plan as JSON text: keys sorted, arrays of numbers on one line, the same bytes for equal plans. */
export function formatPlan(plan: PruningPlan): string {
  return formatDocument({ ...plan, base: { ...plan.base } });
}

function parseJson(text: string, where: string): unknown {
  try {
    return parseLimited(text, { ...PLAN_LIMITS, where });
  } catch (error) {
    if (!(error instanceof GpruneError)) throw error;
    throw new GpruneError("BAD_PLAN", error.message, { cause: error });
  }
}
