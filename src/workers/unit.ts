/**
 * Units of work as they travel: JSON with names and hashes, while what they read and give lies in the store. A unit's
 * key is the hash of everything that its result depends on, so equal work is done once, whoever asks for it, and as
 * often as somebody happens to do it the result is the same.
 */
import { availableParallelism } from "node:os";
import { z } from "zod";
import { versions } from "../base/package.ts";
import type { ModelRecipe } from "../calibrate/passes.ts";
import { GpruneError } from "../errors.ts";
import { processor } from "../io/files/machine.ts";
import type { Digest } from "../io/files/stage_file.ts";
import { sha256Hex } from "../io/store/sha256.ts";
import type { Alternatives } from "../recover/alternatives.ts";

/** Changes whenever units or their results mean something else. */
const FORMAT = 4;

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const object: z.ZodType<Digest> = z.strictObject({ bytes: z.int().nonnegative(), sha256 });

interface AnyUnit {
  /** SHA-256 of the dense model's files by name. */
  readonly hashes: Readonly<Record<string, string>>;
  /** A value `Windows`. */
  readonly windows: Digest;
}

/** Layers that one unit computes. */
export interface LayerRange {
  readonly first: number;
  /** Exclusive. */
  readonly end: number;
}

/** Statistics of a shard of a set in a range of layers. */
export interface StatisticsUnit extends AnyUnit, LayerRange {
  readonly kind: "statistics";
  /** A value `OwnedWindows`. */
  readonly windows: Digest;
  /** Input of layer `first`, a value `readonly Tensor[]`; null for the embeddings. */
  readonly hidden: Digest | null;
}

/** Gate statistics of some windows, each by itself. */
export interface GradientsUnit extends AnyUnit {
  readonly kind: "gradients";
  /** A value `ModelRecipe`; null for the dense model. */
  readonly recipe: Digest | null;
  readonly damped: boolean;
  /** A value `ReadonlyMap<string, Float32Array>`. */
  readonly centres: Digest | null;
}

/** Slopes of some windows, each by itself. */
export interface SlopesUnit extends AnyUnit {
  readonly kind: "slopes";
  /** A value `ModelRecipe` whose tensors hold the changes. */
  readonly recipe: Digest;
  /** A value `ReadonlyMap<string, Float32Array>`. */
  readonly centres: Digest;
}

/** Losses of every prediction in some windows. */
export interface LossesUnit extends AnyUnit {
  readonly kind: "losses";
  readonly recipe: Digest | null;
}

/** Moments of a range of layers over all sets. */
export interface MomentsUnit extends Omit<AnyUnit, "windows">, LayerRange {
  readonly kind: "moments";
  /** A value `readonly MomentShard[]`. */
  readonly shards: Digest;
}

/** A shard that counts in the moments, and where its windows stand before the first layer. */
export interface MomentShard extends Windows {
  readonly tokenWeight: number;
  /** A value `readonly Tensor[]`, as the units of statistics had it; null before layer 0. */
  readonly hidden: Digest | null;
}

/** Refitted projections of a range of layers. */
export interface RefitUnit extends Omit<AnyUnit, "windows">, LayerRange {
  readonly kind: "refit";
  /** A value `RefitRecipe`. */
  readonly recipe: Digest;
  /** Moments of the range, as kept_moments.ts keeps them. */
  readonly moments: Digest;
}

/** What is refitted: kept units, and perhaps other widths. */
export interface RefitRecipe extends Required<Pick<ModelRecipe, "keep">> {
  readonly alternatives?: Alternatives;
}

/** A unit of work. */
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

/** Windows of one set, and its name for messages. */
export interface Windows {
  readonly set: string;
  readonly windows: readonly Int32Array[];
}

/** The same with the owner of the statistics of each; null for none. */
export interface OwnedWindows extends Windows {
  readonly owners: readonly (string | null)[];
}

const jobSchema = z.strictObject({
  format: z.literal(FORMAT),
  /** Where the run has the model: a path, or a name on the hub. */
  model: z.string().min(1),
  unit: unitSchema,
});

/** What lies in the queue. */
export interface UnitJob {
  readonly model: string;
  readonly unit: Unit;
}

/** A job as JSON. */
export function formatJob(job: UnitJob): unknown {
  return { format: FORMAT, ...job };
}

/**
 * Checks a job from the queue.
 * @param key - the name under which it lay there
 * @throws GpruneError UNIT_FAILED when it is none, or another one than its name says
 */
export function parseJob(data: unknown, key: string, queue: string): UnitJob {
  const { success, data: job } = jobSchema.safeParse(data);
  if (success && unitKey(job.unit, queue) === key) return job;
  throw new GpruneError(
    "UNIT_FAILED",
    `unit ${key}: expected a unit of work of that name, got something else`,
  );
}

/** The hash of all that a unit's result depends on. @param queue - its name, which says what computes it */
export function unitKey(unit: Unit, queue: string): string {
  return sha256Hex(JSON.stringify([queue, sorted(unit)]));
}

/** `statistics of layers 1-12` */
export function describeUnit(unit: Unit): string {
  return "first" in unit ? `${unit.kind} of layers ${unit.first + 1}-${unit.end}` : unit.kind;
}

/**
 * What computes the same bits: versions and instruction sets, and the number of threads where that has not been shown
 * not to matter (run/facts.ts).
 */
function environment(threads: number = availableParallelism()): string {
  return JSON.stringify([versions(), processor(), ...(process.arch === "x64" ? [] : [threads])]);
}

/** The queue in which runs and workers meet that have the same store and compute the same bits. */
export function queueName(storeIdentity: string, threads: number | undefined): string {
  return `gprune-${sha256Hex(JSON.stringify([FORMAT, storeIdentity, environment(threads)])).slice(0, 16)}`;
}

/** The name of the record of a unit's result. */
export function recordName(key: string): string {
  return `unit-${key}`;
}

/** What a unit gave: objects by name. */
export type UnitResult = Readonly<Record<string, Digest>>;

const recordSchema = z.strictObject({ unit: sha256, objects: z.record(z.string(), object) });

/** The record of a unit's result. */
export function formatResult(key: string, objects: UnitResult): string {
  return JSON.stringify({ unit: key, objects });
}

/** The result that a record holds; null when it is not one of the unit. */
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

/** The value with the keys of its records in order. */
function sorted(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(sorted);
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, item]) => [key, sorted(item)]));
}
