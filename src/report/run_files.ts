/** Readers of the files that a run writes beside the model. */
import { z } from "zod";
import { RUN_FILES } from "../base/file_names.ts";
import { GpruneError, requireWord } from "../errors.ts";
import { kindOfPath, readSmallText } from "../io/files/file.ts";
import { fileInside } from "../io/files/inside.ts";
import { parseJson } from "../io/files/json.ts";
import { weightsHash } from "../model/checkpoint/model_hashes.ts";
import { parsePlan } from "../prune/plan_json.ts";
import type { TrainingStep } from "../recover/training_state.ts";
import type { RunFiles } from "./report_data.ts";
import { parseRunRecord, type RunRecord } from "./run_record.ts";
import { parseEvaluation, type SavedEvaluation } from "./saved_evaluation.ts";

/** The plan.json of 126 layers with 53 thousand neurons each has about 50 MB; the other files are small. */
const MAX_BYTES = 2 ** 28;
const CURVE_LIMITS = { maxBytes: 2 ** 26, maxDepth: 4 };
/** Limits of facts.json. */
export const FACTS_LIMITS: { readonly maxBytes: number; readonly maxDepth: number } = {
  maxBytes: 2 ** 26,
  maxDepth: 64,
};

const factsSchema = z.object({
  facts: z.object({ inputs: z.object({ model: z.record(z.string(), z.string()) }) }),
});

const curveSchema: z.ZodType<readonly TrainingStep[]> = z.array(
  z.object({ step: z.number(), divergence: z.number(), hidden: z.number(), learningRate: z.number() }),
);

/**
 * Reads the files of a run that a report needs: run.json, and plan.json, evaluation.json and training.json if present.
 * @throws GpruneError NOT_FOUND when the directory holds no run.json, BAD_FILE and BAD_PLAN for invalid files
 */
export async function readRun(directory: string): Promise<RunFiles> {
  requireWord(directory, "run");
  const record = await readRecord(directory);
  const plan = await read(directory, RUN_FILES.plan, parsePlan);
  const evaluation = await readEvaluation(directory);
  const curve = await read(directory, RUN_FILES.curve, parseCurve);
  const baseHash = await readBaseHash(directory);
  return { record, plan, evaluation, curve, baseHash, directory };
}

/** Hash of the base model's weights from facts.json; null when it is not there. @throws GpruneError BAD_FILE */
export function readBaseHash(directory: string): Promise<string | null> {
  return read(directory, RUN_FILES.facts, parseBaseHash);
}

/** Reads run.json. @throws GpruneError as `readRun` */
export async function readRecord(directory: string): Promise<RunRecord> {
  const record = await read(directory, RUN_FILES.record, parseRunRecord);
  if (record !== null) return record;
  const missing = (await kindOfPath(directory)) === "missing" ? "such directory" : RUN_FILES.record;
  const message = `${directory}: expected an output of gprune prune, got no ${missing}`;
  const hint = "Give the output directory of gprune prune.";
  throw new GpruneError("NOT_FOUND", message, { hint });
}

/** Reads evaluation.json; null when there is none. @throws GpruneError BAD_FILE */
export function readEvaluation(directory: string): Promise<SavedEvaluation | null> {
  return read(directory, RUN_FILES.evaluation, parseEvaluation);
}

/** Reads and parses a file of the directory; null when there is none. */
async function read<T>(
  directory: string,
  name: string,
  parse: (text: string, where: string) => T,
): Promise<T | null> {
  const path = await fileInside(directory, name);
  if ((await kindOfPath(path)) === "missing") return null;
  return parse(await readSmallText(path, MAX_BYTES), path);
}

function parseBaseHash(text: string, where: string): string | null {
  const found = factsSchema.safeParse(parseJson(text, { ...FACTS_LIMITS, where }));
  return found.success ? weightsHash(found.data.facts.inputs.model) : null;
}

function parseCurve(text: string, where: string): readonly TrainingStep[] {
  const result = curveSchema.safeParse(parseJson(text, { ...CURVE_LIMITS, where }));
  if (result.success) return result.data;
  throw new GpruneError(
    "BAD_FILE",
    `${where}: expected the loss curve of a distillation, got something else`,
  );
}
