/** Lists the runs below a directory: finished outputs, and unfinished runs by their OUT.run. */
import { basename, join } from "node:path";
import { z } from "zod";
import { RUN_FILES } from "../base/file_names.ts";
import { plainText } from "../base/plain_text.ts";
import { GpruneError, reasonOf } from "../errors.ts";
import { kindOfPath, stampOf } from "../io/files/file.ts";
import { directoriesIn } from "../io/files/listing.ts";
import { LOCK } from "../io/run/directory.ts";
import { holderOf } from "../io/run/lock.ts";
import { MANIFEST, OUTPUT, RunManifest } from "../io/run/manifest.ts";
import { baselineWords, hasGivenPlan, meanQuality, reportData } from "../report/report_data.ts";
import { readBaseHash, readEvaluation, readRecord } from "../report/run_files.ts";
import type { RunRecord } from "../report/run_record.ts";
import type { SavedEvaluation } from "../report/saved_evaluation.ts";
import type { RunFigures, RunPerplexity, RunSummary, Settings } from "./api.ts";

/** Levels of directories that are searched: OUT, and DIR/OUT as `gprune demo -o DIR` makes them. */
const DEPTH = 2;
const SUFFIX = ".run";

/** Cache of finished runs by id, with the stamps of their files when they were read. */
export type KnownRuns = Map<string, { readonly stamp: string; readonly run: RunSummary }>;

/** The searched directory and the cache. */
interface Place {
  readonly root: string;
  readonly known: KnownRuns;
}

/**
 * All runs below a directory, newest first. Other directories are left out; damaged runs are listed with the reason.
 * @param known - cache of earlier calls: finished runs with unchanged files are not read again, and stay the same
 *   objects; runs that are gone are removed from it
 */
export async function listRuns(
  directory: string,
  known: KnownRuns = new Map(),
): Promise<readonly RunSummary[]> {
  const runs = await runsBelow("", { root: directory, known }, DEPTH);
  const ids = new Set(runs.map(({ id }) => id));
  for (const id of known.keys()) if (!ids.has(id)) known.delete(id);
  return runs.toSorted((a, b) => (b.started ?? "9").localeCompare(a.started ?? "9"));
}

async function runsBelow(prefix: string, place: Place, depth: number): Promise<readonly RunSummary[]> {
  const runs: RunSummary[] = [];
  for (const name of await directoriesIn(join(place.root, prefix))) {
    const id = prefix === "" ? name : `${prefix}/${name}`;
    const run = await summaryOf(id, place);
    if (run !== null) runs.push(run);
    else if (depth > 1 && !name.endsWith(SUFFIX)) runs.push(...(await runsBelow(id, place, depth - 1)));
  }
  return runs;
}

/** Summary of a directory; null when it is not a run. */
async function summaryOf(id: string, { root, known }: Place): Promise<RunSummary | null> {
  const path = join(root, id);
  try {
    if ((await kindOfPath(join(path, RUN_FILES.record))) === "file") return await knownOr(path, id, known);
    if (path.endsWith(SUFFIX) && (await kindOfPath(join(path, MANIFEST))) === "file") {
      return await unfinished(path, id.slice(0, -SUFFIX.length));
    }
    return null;
  } catch (error) {
    const note = reasonOf(error);
    const nothing = { base: "", started: null, how: "", outcome: null, settings: null };
    return { id, name: plainText(id), state: "damaged", ...nothing, note };
  }
}

/** A finished run, from the cache if its files are unchanged. */
async function knownOr(path: string, id: string, known: KnownRuns): Promise<RunSummary> {
  const { record, evaluation, facts } = RUN_FILES;
  const stamps = await Promise.all([record, evaluation, facts].map((name) => stampOf(join(path, name))));
  const stamp = stamps.join("\n");
  const before = known.get(id);
  if (before?.stamp === stamp) return before.run;
  const run = await finished(path, id);
  known.set(id, { stamp, run });
  return run;
}

async function finished(path: string, id: string): Promise<RunSummary> {
  const record = await readRecord(path);
  const { base, started, settings } = record;
  // Older records have no sets in their settings, only those that the run has learned from.
  const sets = setsSchema.catch([...record.calibration]).parse(settings.calibration);
  const { problem, ...evaluated } = await evaluationIn(path);
  return {
    id,
    name: plainText(id),
    state: "finished",
    base,
    started,
    how: howOf(settings),
    outcome: figuresOf({ record, ...evaluated }),
    settings: withoutOutput({
      ...settings,
      calibration: sets.map(({ name, path: text, weight }) => ({ name, path: text, weight })),
    }),
    note: problem,
  };
}

/** Calibration sets of a configuration. */
const setsSchema = z.array(z.object({ name: z.string(), path: z.string(), weight: z.number() }));

/** The evaluation saved with a run. */
interface FoundEvaluation {
  readonly evaluation: SavedEvaluation | null;
  /** Hash of the weights of the model that was pruned. */
  readonly baseHash: string | null;
  /** Why the evaluation cannot be read; null if it can, or there is none. */
  readonly problem: string | null;
}

/** Reads the evaluation of `gprune eval --save`, if there is one; errors are returned, since the run can be shown. */
async function evaluationIn(path: string): Promise<FoundEvaluation> {
  try {
    const evaluation = await readEvaluation(path);
    return { evaluation, baseHash: evaluation && (await readBaseHash(path)), problem: null };
  } catch (error) {
    return { evaluation: null, baseHash: null, problem: reasonOf(error) };
  }
}

/** Sources of a run's figures. */
type Measured = Omit<FoundEvaluation, "problem"> & { readonly record: RunRecord };

function figuresOf({ record, ...evaluated }: Measured): RunFigures {
  return {
    removed: record.sparsity.achieved,
    parameters: record.parameters,
    perplexity: perplexityOf({ record, ...evaluated }),
    seconds: record.timings.reduce((sum, { seconds }) => sum + seconds, 0),
    peakBytes: record.peak_rss_bytes,
  };
}

/** Perplexity on the texts of the evaluation, as in the report; without any, on held-out calibration windows. */
function perplexityOf(measured: Measured): RunPerplexity | null {
  const data = reportData({ ...measured, plan: null, curve: null });
  const isEvaluated = data.texts.length > 0;
  const rows = isEvaluated ? data.texts : data.heldOut;
  const [first] = rows;
  if (first === undefined) return null;
  const { dense, pruned } = meanQuality(rows);
  const kind = isEvaluated ? "evaluation" : "held-out";
  const against = isEvaluated && data.otherBaseline !== null ? ` against ${baselineWords(data)}` : "";
  const which =
    rows.length === 1 ? `${kind} text ${first.name}` : `geometric mean of ${rows.length} ${kind} texts`;
  return { dense, pruned, on: `${which}${against}` };
}

/** Facts of an export or an evaluation, which keep their progress in the same kind of directory. */
const otherSchema = z.union([z.object({ export: z.unknown() }), z.object({ evaluation: z.unknown() })]);

/** Parts of a run's manifest with which it is resumed. */
const keptSchema = z.object({ settings: z.looseObject({ model: z.string() }) });
const writtenSchema = z.object({ dtype: z.string() }).catch({ dtype: "auto" });
const limitsSchema = z.object({ maxMemory: z.number().optional(), threads: z.number().optional() }).catch({});

/** Summary of an unfinished run; null when the directory belongs to an export or an evaluation. */
async function unfinished(path: string, id: string): Promise<RunSummary | null> {
  const holder = await holderOf(join(path, LOCK));
  const manifest = await RunManifest.open(path);
  const { facts, written, limits } = manifest.dependencies;
  if (otherSchema.safeParse(facts).success) return null;
  const kept = keptSchema.safeParse(facts);
  if (!kept.success) {
    const hint = "Remove the directory to start over.";
    throw new GpruneError("BAD_CHECKPOINT", `${basename(path)}: expected the settings of a run, got none`, {
      hint,
    });
  }
  const { settings } = kept.data;
  const stages = [...manifest.entries.keys()].filter((name) => !name.startsWith(`${OUTPUT}/`));
  return {
    id,
    name: plainText(id),
    state: holder === null ? "unfinished" : "running elsewhere",
    base: settings.model,
    started: holder?.since ?? null,
    how: howOf(settings),
    outcome: null,
    settings: withoutOutput({
      ...settings,
      ...writtenSchema.parse(written),
      ...limitsSchema.parse(limits),
    }),
    note: `saved stages: ${stages.join(", ") || "none"}`,
  };
}

function withoutOutput({ output: _, ...settings }: Settings): Settings {
  return settings;
}

/** `GPrune on flap-wifv, 30 % asked, recovery lstsq` */
function howOf(settings: Settings): string {
  const { method, metric, sparsity, recover } = settings;
  if (hasGivenPlan({ settings })) return `given plan, recovery ${recover}`;
  const way = method === "none" ? `${metric} alone` : `GPrune on ${metric}`;
  const asked = typeof sparsity === "number" ? `, ${Math.round(1000 * sparsity) / 10} % asked` : "";
  return `${way}${asked}, recovery ${recover}`;
}
