/**
 * The JSON of units of work and of their results: kinds, layer ranges, and digests of inputs and outputs, which are
 * objects of the store. A unit's key is the hash of everything that its result depends on, so equal work is done once,
 * and a unit that happens to be computed twice gives the same result.
 */
import { z } from "zod";
import { versions } from "../base/package.ts";
import type { ModelRecipe } from "../calibrate/passes.ts";
import { GpruneError } from "../errors.ts";
import { processor, processorCounts } from "../io/files/machine.ts";
import type { Digest } from "../io/files/stage_file.ts";
import { sha256Hex } from "../io/store/sha256.ts";
import type { Alternatives } from "../recover/alternatives.ts";

/** Version of units and their results; raised whenever the meaning of either changes. */
const FORMAT = 5;

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const object: z.ZodType<Digest> = z.strictObject({ bytes: z.int().nonnegative(), sha256 });

interface BaseUnit {
  /** SHA-256 of the dense model's files by name. */
  readonly hashes: Readonly<Record<string, string>>;
  /** Object with a `Windows`. */
  readonly windows: Digest;
}

/** A half-open range of layers. */
export interface LayerRange {
  readonly first: number;
  /** Exclusive. */
  readonly end: number;
}

/** Activation statistics of one shard of a calibration set over a range of layers. */
export interface StatisticsUnit extends BaseUnit, LayerRange {
  readonly kind: "statistics";
  /** Object with an `OwnedWindows`. */
  readonly windows: Digest;
  /** Object with the input of layer `first`, a `readonly Tensor[]`; null for the embeddings. */
  readonly hidden: Digest | null;
}

/** Gate-gradient statistics of every window by itself. */
export interface GradientsUnit extends BaseUnit {
  readonly kind: "gradients";
  /** Object with a `ModelRecipe`; null for the dense model. */
  readonly recipe: Digest | null;
  readonly damped: boolean;
  /** Object with a `ReadonlyMap<string, Float32Array>`, as `GateStatsOptions` has it; null for none. */
  readonly centres: Digest | null;
}

/** Slopes of the loss (calibrate/slopes.ts) of every window by itself. */
export interface SlopesUnit extends BaseUnit {
  readonly kind: "slopes";
  /** Object with a `ModelRecipe` whose tensors include the changes of output projections. */
  readonly recipe: Digest;
  /** Object with a `ReadonlyMap<string, Float32Array>`, as `SlopeOptions` has it. */
  readonly centres: Digest;
}

/** Next-token loss of every prediction in its windows. */
export interface LossesUnit extends BaseUnit {
  readonly kind: "losses";
  /** Object with a `ModelRecipe`; null for the dense model. */
  readonly recipe: Digest | null;
}

/** Moments of a range of layers over all calibration sets. */
export interface MomentsUnit extends Omit<BaseUnit, "windows">, LayerRange {
  readonly kind: "moments";
  /** Object with a `readonly MomentShard[]`. */
  readonly shards: Digest;
}

/** A shard that counts in the moments, and its hidden states before the first layer of the unit. */
export interface MomentShard extends Windows {
  /** Weight of each of its tokens in the moments. */
  readonly tokenWeight: number;
  /** Object with a `readonly Tensor[]` that a statistics unit wrote; null before layer 0. */
  readonly hidden: Digest | null;
}

/** Refitted projections of a range of layers. */
export interface RefitUnit extends Omit<BaseUnit, "windows">, LayerRange {
  readonly kind: "refit";
  /** Object with a `RefitRecipe`. */
  readonly recipe: Digest;
  /** Object with the moments of the range, written by kept_moments.ts. */
  readonly moments: Digest;
}

/** Kept units of every space, whether biases are added, and alternative widths to be fitted as well, if any. */
export interface RefitRecipe extends Required<Pick<ModelRecipe, "keep">> {
  readonly addsBiases: boolean;
  readonly alternatives?: Alternatives;
}

/** A unit of work; `kind` names the pass. */
export type Unit = StatisticsUnit | GradientsUnit | SlopesUnit | LossesUnit | MomentsUnit | RefitUnit;

const shared = { hashes: z.record(z.string(), sha256), windows: object };
const layer = z.int().nonnegative();
const range = { first: layer, end: layer };

const unitSchema: z.ZodType<Unit> = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("statistics"),
    ...shared,
    ...range,
    hidden: object.nullable(),
  }),
  z.strictObject({
    kind: z.literal("gradients"),
    ...shared,
    recipe: object.nullable(),
    damped: z.boolean(),
    centres: object.nullable(),
  }),
  z.strictObject({ kind: z.literal("slopes"), ...shared, recipe: object, centres: object }),
  z.strictObject({ kind: z.literal("losses"), ...shared, recipe: object.nullable() }),
  z.strictObject({
    kind: z.literal("moments"),
    hashes: shared.hashes,
    shards: object,
    ...range,
  }),
  z.strictObject({
    kind: z.literal("refit"),
    hashes: shared.hashes,
    recipe: object,
    moments: object,
    ...range,
  }),
]);

/** Windows of token ids of one set. */
export interface Windows {
  /** The set's name, for messages. */
  readonly set: string;
  readonly windows: readonly Int32Array[];
}

/** Windows, and for each the name that its statistics are added up under; null for none. */
export interface OwnedWindows extends Windows {
  readonly owners: readonly (string | null)[];
}

const jobSchema = z.strictObject({
  format: z.literal(FORMAT),
  /** The run's path of the model, or its hub address. */
  model: z.string().min(1),
  unit: unitSchema,
});

/** A job of the queue: a unit, and where the run has the model. */
export interface UnitJob {
  readonly model: string;
  readonly unit: Unit;
}

/** JSON value of a job, with the version of its format. */
export function formatJob(job: UnitJob): unknown {
  return { format: FORMAT, ...job };
}

/**
 * Checks a job from the queue.
 * @param key - the job's name in the queue
 * @param queue - the queue's name
 * @throws GpruneError UNIT_FAILED when it is not a job, or its unit has another key
 */
export function parseJob(data: unknown, key: string, queue: string): UnitJob {
  const { success, data: job } = jobSchema.safeParse(data);
  if (success && unitKey(job.unit, queue) === key) return job;
  throw new GpruneError(
    "UNIT_FAILED",
    `unit ${key}: expected a unit of work with this key, got something else`,
  );
}

/** Hash of all that a unit's result depends on. @param queue - its name, a hash of what computes it */
export function unitKey(unit: Unit, queue: string): string {
  return sha256Hex(JSON.stringify([queue, withSortedKeys(unit)]));
}

/** `statistics of layers 1-12` */
export function describeUnit(unit: Unit): string {
  return "first" in unit ? `${unit.kind} of layers ${unit.first + 1}-${unit.end}` : unit.kind;
}

/**
 * Versions and instruction sets, which decide the bits of results; except on x64 also the number of threads
 * (run/facts.ts).
 */
function environment(threads: number = processorCounts().usable): string {
  return JSON.stringify([versions(), processor(), ...(process.arch === "x64" ? [] : [threads])]);
}

/** Name of the queue shared by all runs and workers that have the same store and compute the same bits. */
export function queueName(storeIdentity: string, threads: number | undefined): string {
  return `gprune-${sha256Hex(JSON.stringify([FORMAT, storeIdentity, environment(threads)])).slice(0, 16)}`;
}

/** Name in the store of the record of a unit's result. */
export function recordName(key: string): string {
  return `unit-${key}`;
}

/** Objects that a unit has written, by name. */
export type UnitResult = Readonly<Record<string, Digest>>;

const recordSchema = z.strictObject({ unit: sha256, objects: z.record(z.string(), object) });

/** Text of the record of a unit's result. */
export function formatResult(key: string, objects: UnitResult): string {
  return JSON.stringify({ unit: key, objects });
}

/** Result in the text of a record; null when the text is not a record of this unit. */
export function parseResult(text: string, key: string): UnitResult | null {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  const { success, data } = recordSchema.safeParse(value);
  return success && data.unit === key ? data.objects : null;
}

/** A JSON value with the keys of every object in ascending order. */
function withSortedKeys(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(withSortedKeys);
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, item]) => [key, withSortedKeys(item)]));
}
