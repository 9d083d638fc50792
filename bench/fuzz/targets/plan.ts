/** Changed plans for a tiny model; those that are valid are carried out. */
import { join } from "node:path";
import fc from "fast-check";
import { readSmallText } from "../../../src/io/files/file.ts";
import { prunedSpec, validatePlan, widths } from "../../../src/prune/plan.ts";
import { formatPlan, PLAN_LIMITS, parsePlan } from "../../../src/prune/plan_json.ts";
import { applyPlan } from "../../../src/prune/surgery.ts";
import { plansFor } from "../../../test/plans.ts";
import { tinyModel } from "../../../test/tiny_model.ts";
import type { FuzzTarget } from "../harness.ts";
import { damaged, jsonBytes, tamperedJson } from "../mutate.ts";

const MODEL = tinyModel({ layers: [{ neurons: 5 }, { kvGroups: 3 }] });

const plans = fc
  .tuple(
    plansFor(MODEL.spec),
    fc.dictionary(fc.string({ maxLength: 5 }), fc.jsonValue({ maxDepth: 3 }), { maxKeys: 2 }),
  )
  .map(([plan, provenance]): unknown => ({ ...plan, provenance }));

export const planTarget: FuzzTarget = {
  name: "plan",
  share: 4,
  files: damaged(tamperedJson(plans).map(jsonBytes)).map((bytes) => ({ "plan.json": bytes })),
  open: async (directory) => {
    const path = join(directory, "plan.json");
    const plan = parsePlan(await readSmallText(path, PLAN_LIMITS.maxBytes), path);
    if (formatPlan(parsePlan(formatPlan(plan), path)) !== formatPlan(plan)) throw new Error("another plan");
    if (!validatePlan(plan, MODEL.spec).ok) return undefined;
    return async () => {
      const { ffn, kv } = widths(plan, MODEL.spec);
      if (Math.min(...ffn, ...kv) < 1) throw new Error("an empty layer");
      const pruned = applyPlan(MODEL, plan);
      const { shape } = await pruned.weights.read("model.layers.0.mlp.up_proj.weight");
      if (shape[0] !== prunedSpec(MODEL.spec, plan).layers[0]!.neurons) throw new Error("another width");
    };
  },
};
