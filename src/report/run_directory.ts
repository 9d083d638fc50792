/** Reads the files of a run from its output directory. */
import { join } from "node:path";
import { z } from "zod";
import { GpruneError } from "../errors.ts";
import { kindOfPath, readSmallFile } from "../io/file.ts";
import { parseJson } from "../io/json.ts";
import { parsePlan } from "../prune/plan_json.ts";
import type { TrainingStep } from "../recover/training_state.ts";
import type { RunFiles } from "./facts.ts";
import { parseRunRecord } from "./run_record.ts";
import { parseEvaluation } from "./saved_evaluation.ts";

/** plan.json of 126 layers with 53 thousand neurons has about 50 MB; the others are small. */
const MAX_BYTES = 2 ** 28;
const CURVE_LIMITS = { maxBytes: 2 ** 26, maxDepth: 4 };

const curveSchema: z.ZodType<readonly TrainingStep[]> = z.array(
  z.object({ step: z.number(), divergence: z.number(), hidden: z.number(), learningRate: z.number() }),
);

/**
 * What a report needs: run.json, and plan.json, evaluation.json and training.json where they are.
 * @throws GpruneError NOT_FOUND when the directory holds no record of a run, BAD_FILE and BAD_PLAN for files that are
 *   something else
 */
export async function readRun(directory: string): Promise<RunFiles> {
  const read = async <T>(name: string, parse: (text: string, where: string) => T): Promise<T | null> => {
    const path = join(directory, name);
    if ((await kindOfPath(path)) === "missing") return null;
    return parse(new TextDecoder().decode(await readSmallFile(path, MAX_BYTES)), path);
  };
  const record = await read("run.json", parseRunRecord);
  if (record === null) {
    throw new GpruneError("NOT_FOUND", `${directory}: expected an output of gprune prune, got no run.json`, {
      hint: "It is the directory that gprune prune -o RUN wrote.",
    });
  }
  const plan = await read("plan.json", parsePlan);
  const evaluation = await read("evaluation.json", parseEvaluation);
  const curve = await read("training.json", parseCurve);
  return { record, plan, evaluation, curve, directory };
}

function parseCurve(text: string, where: string): readonly TrainingStep[] {
  const result = curveSchema.safeParse(parseJson(text, { ...CURVE_LIMITS, where }));
  if (result.success) return result.data;
  throw new GpruneError("BAD_FILE", `${where}: expected the loss curve of a training, got something else`);
}
