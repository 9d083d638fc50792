/**
 * Facts of a run: everything that the bytes of its output depend on, namely settings, hashes of inputs, versions and
 * the processor. A run that resumes from kept results must have the same facts, and every output records them.
 */

import { createHash } from "node:crypto";
import { z } from "zod";
import { versions } from "../base/package.ts";
import type { OnProgress } from "../base/progress.ts";
import { isOwnText } from "../calibrate/text_sets.ts";
import type { SampledSet } from "../calibrate/windows.ts";
import { countingSettings, type SettledConfig } from "../config.ts";
import { kindOfPath } from "../io/files/file.ts";
import { readJsonFile } from "../io/files/json.ts";
import { type JsonValue, toJson } from "../io/files/json_document.ts";
import { processor, processorCounts } from "../io/files/machine.ts";
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

/** Content of an output's facts.json: the facts of the run that made it, and its result. */
export interface FactsRecord {
  readonly facts: JsonValue;
  readonly result: JsonValue;
}

/** Facts of a run, by what depends on them. */
export interface RunFacts {
  /** Facts that computed results depend on; kept stages are valid for the same ones only. */
  readonly computed: JsonValue;
  /** Further facts that the files of the output depend on. */
  readonly written: JsonValue;
}

/** Model, sets and plan that a run reads, and the shard size that it writes. */
export interface FactSources {
  readonly model: Model;
  readonly sets: readonly SampledSet[];
  /** The given plan; null if the run makes one. */
  readonly plan: PruningPlan | null;
  readonly maxShardBytes: number | undefined;
}

/**
 * The facts of a run. Reads the model's files once. The output's path, the memory limit and the number of threads
 * change no byte (graph/runtime/thread_limit.ts). For threads this was tested on x86-64 only, so on other processors
 * their number is a fact.
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
    threads = processorCounts().usable,
    dtype,
    ...settings
  } = countingSettings(config);
  const ownTexts = config.calibration.filter(isOwnText).map(({ name }) => name);
  const isRead = ({ name }: SampledSet): boolean => !ownTexts.includes(name);
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

/** All facts as one value, for the output's facts.json. */
export function recordedFacts({ computed, written }: RunFacts): JsonValue {
  return { ...(computed as Record<string, JsonValue>), written };
}

/** The hashes of the model's files in the facts, by file name. */
export function modelHashesIn({ computed }: RunFacts): Readonly<Record<string, string>> {
  const inputs = z.object({ model: z.record(z.string(), z.string()) });
  return z.object({ inputs }).parse(computed).inputs.model;
}

/** The text of an output's facts.json. */
export function formatFacts({ facts, result }: FactsRecord): string {
  return `${JSON.stringify({ format: "gprune-facts", version: 1, facts, result }, null, 1)}\n`;
}

/**
 * Reads an output's facts.json; null if it is missing or of another format. @throws GpruneError BAD_FILE if unreadable
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
