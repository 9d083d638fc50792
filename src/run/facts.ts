/**
 * What the bytes of a run's output depend on: settings, inputs by their hashes, versions, the processor. A run that
 * goes on with kept results must have the same facts, and every output says which they were.
 */

import { createHash } from "node:crypto";
import { availableParallelism } from "node:os";
import { z } from "zod";
import { versions } from "../base/package.ts";
import type { OnProgress } from "../base/progress.ts";
import { isOwnText, type SampledSet } from "../calibrate/windows.ts";
import { countingSettings, type SettledConfig } from "../config.ts";
import { kindOfPath } from "../io/files/file.ts";
import { readJsonFile } from "../io/files/json.ts";
import { type JsonValue, toJson } from "../io/files/json_document.ts";
import { processor } from "../io/files/machine.ts";
import { sha256Hex } from "../io/store/sha256.ts";
import { cardFields } from "../model/card_fields.ts";
import { modelHashes } from "../model/checkpoint/model_hashes.ts";
import type { Model } from "../model/model.ts";
import type { PruningPlan } from "../prune/plan.ts";
import { formatPlan } from "../prune/plan_json.ts";
import { FACTS_LIMITS } from "../report/run_files.ts";

const recordSchema = z.strictObject({
  format: z.literal("gprune-facts"),
  version: z.literal(1),
  facts: z.json(),
  result: z.json(),
});

/** What an output says about the run that made it. */
export interface FactsRecord {
  readonly facts: JsonValue;
  readonly result: JsonValue;
}

/** What a run depends on. */
export interface RunFacts {
  /** What is computed: stages are kept for these. */
  readonly computed: JsonValue;
  /** What else the files of the output depend on. */
  readonly written: JsonValue;
}

/** What a run reads, and how it stores. */
export interface FactSources {
  readonly model: Model;
  readonly sets: readonly SampledSet[];
  /** The plan that is carried out, if one was given. */
  readonly plan: PruningPlan | null;
  readonly maxShardBytes: number | undefined;
}

/**
 * The facts of a run. Reads the model's files once. Where the output goes, how much memory there is and the number of
 * threads change no byte (graph/runtime/thread_limit.ts; tried on x86-64 alone, so that elsewhere the facts have the
 * number of threads).
 * @throws GpruneError BAD_FILE when a file cannot be read
 */
export async function runFacts(
  config: SettledConfig,
  { model, sets, plan, maxShardBytes }: FactSources,
  onProgress: OnProgress,
): Promise<RunFacts> {
  const {
    output: _,
    maxMemory: __,
    threads = availableParallelism(),
    dtype,
    ...settings
  } = countingSettings(config);
  const own = config.calibration.filter(isOwnText).map(({ name }) => name);
  const isRead = ({ name }: SampledSet): boolean => !own.includes(name);
  const computed = toJson({
    settings: { ...settings, ...(process.arch !== "x64" && { threads }) },
    inputs: {
      model: await modelHashes(model, onProgress),
      // The model's own text follows from the rest.
      sets: Object.fromEntries(sets.filter(isRead).map((set) => [set.name, windowsHash(set)])),
      ...(plan && { plan: sha256Hex(formatPlan(plan)) }),
    },
    versions: versions(),
    processor: processor(),
  });
  const inherited = cardFields(model.card);
  const hasCard = Object.keys(inherited).length > 0;
  return { computed, written: toJson({ dtype, maxShardBytes, ...(hasCard && { card: inherited }) }) };
}

/** Both as one value, for the output's facts.json. */
export function recordedFacts({ computed, written }: RunFacts): JsonValue {
  return { ...(computed as Record<string, JsonValue>), written };
}

/** The hashes of the model's files that the facts hold, by name. */
export function modelHashesIn({ computed }: RunFacts): Readonly<Record<string, string>> {
  const inputs = z.object({ model: z.record(z.string(), z.string()) });
  return z.object({ inputs }).parse(computed).inputs.model;
}

/** The text of an output's facts.json. */
export function formatFacts({ facts, result }: FactsRecord): string {
  return `${JSON.stringify({ format: "gprune-facts", version: 1, facts, result }, null, 1)}\n`;
}

/**
 * What the facts.json of an output says; null when there is none. @throws GpruneError BAD_FILE when it cannot be read
 */
export async function readFacts(path: string): Promise<FactsRecord | null> {
  if ((await kindOfPath(path)) !== "file") return null;
  const record = recordSchema.safeParse(await readJsonFile(path, FACTS_LIMITS));
  return record.success ? record.data : null;
}

/** Hash of the token ids of a set, window by window. */
function windowsHash({ windows, heldOut, unused }: SampledSet): string {
  const hash = createHash("sha256");
  for (const lot of [windows, heldOut, unused]) {
    hash.update(`${lot.length} windows\n`);
    for (const ids of lot) hash.update(Uint32Array.from(ids));
  }
  return hash.digest("hex");
}
