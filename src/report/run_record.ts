/**
 * The record of a run, run.json of an output: settings and results, including timings. With plan.json it is all that a
 * report needs. Names of sets are values in lists, never keys, so that no name can have a special meaning.
 */
import { basename, resolve } from "node:path";
import { z } from "zod";
import type { SetUse } from "../calibrate/windows.ts";
import { GpruneError } from "../errors.ts";
import { isJsonObject, parseJson } from "../io/files/json.ts";
import { formatDocument, type JsonValue, toJson } from "../io/files/json_document.ts";
import type { Model } from "../model/model.ts";
import { spacesOf } from "../model/spaces.ts";
import type { ModelSpec } from "../model/spec.ts";
import { SPACE_KINDS, type SpaceKind, spaceId } from "../model/weights.ts";
import { keepAll, type Widths, widths } from "../prune/plan.ts";

/** The content of run.json. */
export interface RunRecord {
  readonly format: "gprune-run";
  readonly version: 1;
  /** Last part of the output's path. */
  readonly name: string;
  /** When the run began, ISO 8601. */
  readonly started: string;
  /** The model as the user named it. */
  readonly base: string;
  readonly family: string;
  /** dtype of most parameters of the base. */
  readonly dtype: string;
  /** Size of the base's vocabulary; absent in records of older versions. */
  readonly vocab_size?: number | undefined;
  /** The resolved configuration; in records of older versions without `calibration`. */
  readonly settings: Readonly<Record<string, JsonValue>>;
  /** Fractions of the prunable parameters. */
  readonly sparsity: { readonly asked: number; readonly achieved: number };
  readonly parameters: { readonly before: number; readonly after: number };
  readonly widths: { readonly before: Widths; readonly after: Widths };
  /** Experts by layer, whose neurons widths count together; absent for models without any. */
  readonly experts?: readonly number[] | undefined;
  /** Parameters of one unit, by layer. */
  readonly unit_parameters: Widths;
  readonly runtimes: readonly { readonly program: string; readonly answer: string }[];
  /** Sets that the run learned from; sets used only for the check are in `settings`. */
  readonly calibration: readonly {
    readonly name: string;
    readonly path: string;
    readonly weight: number;
    readonly windows: number;
    readonly tokens: number;
    readonly refit_windows?: number | undefined;
  }[];
  /** Perplexities on held-out windows of the calibration texts. */
  readonly held_out: readonly {
    readonly name: string;
    readonly windows: number;
    readonly dense: number;
    readonly pruned: number;
  }[];
  /** Seconds by stage, in the order of the run. */
  readonly timings: readonly { readonly stage: string; readonly seconds: number }[];
  /** Speed of the calibration stage; null without one. */
  readonly tokens_per_second: number | null;
  readonly peak_rss_bytes: number;
  /** The device used, the one requested, and why they differ; absent in records of older versions. */
  readonly device?:
    | { readonly used: string; readonly asked: string; readonly problem: string | null }
    | undefined;
  readonly versions: readonly { readonly name: string; readonly version: string }[];
}

const count = z.int().nonnegative();
const fraction = z.number().min(0).max(1);
const perplexity = z.number().positive();
const widthLists = z.object({ ffn: z.array(count).min(1), kv: z.array(count).min(1) });

/** Settings that pages show as words. */
const WORD_SETTINGS = ["method", "metric", "allocation", "recover", "seqLen", "samples", "seed"] as const;

/** Refuses lists and records in the settings that pages show as words: no run has them there. */
const settingsSchema = z.record(z.string(), z.json()).superRefine((all, context) => {
  for (const name of WORD_SETTINGS) {
    const value = all[name] ?? null;
    if (value === null || typeof value !== "object") continue;
    context.addIssue({ code: "custom", path: [name], message: "expected a word or a number" });
  }
});

const recordSchema: z.ZodType<RunRecord> = z.object({
  format: z.literal("gprune-run"),
  version: z.literal(1),
  name: z.string(),
  started: z.iso.datetime(),
  base: z.string(),
  family: z.string(),
  dtype: z.string(),
  vocab_size: count.min(1).optional(),
  settings: settingsSchema,
  sparsity: z.object({ asked: fraction, achieved: fraction }),
  parameters: z.object({ before: count.min(1), after: count.min(1) }),
  widths: z.object({ before: widthLists, after: widthLists }),
  experts: z.array(count).optional(),
  unit_parameters: widthLists,
  runtimes: z.array(z.object({ program: z.string(), answer: z.string() })),
  calibration: z.array(
    z.object({
      name: z.string(),
      path: z.string(),
      weight: z.number(),
      windows: count,
      tokens: count,
      refit_windows: count.optional(),
    }),
  ),
  held_out: z.array(z.object({ name: z.string(), windows: count, dense: perplexity, pruned: perplexity })),
  timings: z.array(z.object({ stage: z.string(), seconds: z.number().nonnegative() })),
  tokens_per_second: z.number().nonnegative().nullable(),
  peak_rss_bytes: count,
  device: z.object({ used: z.string(), asked: z.string(), problem: z.string().nullable() }).optional(),
  versions: z.array(z.object({ name: z.string(), version: z.string() })),
});

/**
 * Requires that all lists by layer have the same length, that some layer had an FFN before, and that none is wider
 * after.
 */
const soundSchema = recordSchema.refine(
  ({ widths: { before, after }, unit_parameters: cost }) =>
    SPACE_KINDS.every((kind) => {
      const [had, has, costs] = [before[kind], after[kind], cost[kind]];
      const isOfAll = [had, has, costs].every(({ length }) => length === before.ffn.length);
      const isPresent = kind === "kv" || had.some((units) => units > 0);
      return isOfAll && isPresent && had.every((units, layer) => has[layer]! <= units);
    }),
  { path: ["widths"], error: "expected widths before and after, and costs, of the same layers" },
);

/** A run of a few hundred layers and sets has about 100 kB. */
const MAX_BYTES = 2 ** 24;
const MAX_DEPTH = 16;

/** Results of a run, under the names of `gprune prune --json`. */
export interface RecordedOutcome
  extends Pick<
    RunRecord,
    "sparsity" | "parameters" | "experts" | "tokens_per_second" | "peak_rss_bytes" | "device"
  > {
  /** Widths of the pruned model. */
  readonly widths: Widths;
  readonly runtimes: Readonly<Record<string, string>>;
  readonly held_out: Readonly<Record<string, Omit<RunRecord["held_out"][number], "name">>>;
  readonly timings: Readonly<Record<string, number>>;
  readonly calibration: Readonly<Record<string, SetUse>>;
  readonly versions: Readonly<Record<string, string>>;
}

/** Inputs of a run. */
export interface RunInput {
  readonly model: Model;
  readonly started: Date;
  readonly settings: {
    readonly model: string;
    readonly output: string;
    readonly calibration: readonly {
      readonly name: string;
      readonly path: string;
      readonly weight: number;
    }[];
  };
}

/** Makes the record of a run. */
export function runRecord(outcome: RecordedOutcome, { model, started, settings }: RunInput): RunRecord {
  const { spec, origin } = model;
  // Objects have keys that are numbers first, whatever their order was.
  const used = new Map(Object.entries(outcome.calibration));
  const scores = new Map(Object.entries(outcome.held_out));
  return {
    format: "gprune-run",
    version: 1,
    name: basename(resolve(settings.output)),
    started: started.toISOString(),
    base: settings.model,
    family: spec.family,
    dtype: origin.dtype,
    vocab_size: spec.vocabSize,
    settings: toJson(settings) as RunRecord["settings"],
    sparsity: outcome.sparsity,
    parameters: outcome.parameters,
    widths: { before: widths(keepAll(spec), spec), after: outcome.widths },
    ...(outcome.experts && { experts: outcome.experts }),
    unit_parameters: unitParameters(spec),
    runtimes: Object.entries(outcome.runtimes).map(([program, answer]) => ({ program, answer })),
    calibration: settings.calibration.flatMap(({ name, path, weight }) => {
      const found = used.get(name);
      return found === undefined ? [] : [{ name, path, weight, ...found }];
    }),
    held_out: settings.calibration.flatMap(({ name }) => {
      const score = scores.get(name);
      return score === undefined ? [] : [{ name, ...score }];
    }),
    timings: Object.entries(outcome.timings).map(([stage, seconds]) => ({ stage, seconds })),
    tokens_per_second: outcome.tokens_per_second,
    peak_rss_bytes: outcome.peak_rss_bytes,
    device: outcome.device,
    versions: Object.entries(outcome.versions).map(([name, version]) => ({ name, version })),
  };
}

/** Parameters of a unit by layer; 0 where units cannot be removed. */
function unitParameters(spec: ModelSpec): Widths {
  const spaces = new Map(spacesOf(spec).map((space) => [space.id, space]));
  const ofKind = (kind: SpaceKind): readonly number[] =>
    spec.layers.map((_, layer) => spaces.get(spaceId(layer, kind))?.unitParameters ?? 0);
  return { ffn: ofKind("ffn"), kv: ofKind("kv") };
}

/** Path of the run's output as the user named it. */
export function outputOf({ name, settings }: Pick<RunRecord, "name" | "settings">): string {
  return typeof settings.output === "string" ? settings.output : name;
}

/** A record as JSON text. */
export function formatRunRecord(record: RunRecord): string {
  return formatDocument(record as unknown as JsonValue);
}

/**
 * Parses a record.
 * @param where - the file's name, for messages
 * @throws GpruneError BAD_FILE
 */
export function parseRunRecord(text: string, where: string): RunRecord {
  const value = parseJson(text, { maxBytes: MAX_BYTES, maxDepth: MAX_DEPTH, where });
  const result = soundSchema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const got =
    isJsonObject(value) && value.format === "gprune-run"
      ? `version ${JSON.stringify(value.version)}`
      : "something else";
  throw new GpruneError(
    "BAD_FILE",
    `${where}: expected the record of a run, got ${got} (${issue?.path.join(".")}: ${issue?.message})`,
    { hint: "gprune prune writes run.json into its output directory." },
  );
}
