/**
 * The configuration of a pruning run: one zod schema from which types, defaults and the JSON Schema follow. A resolved
 * configuration is written into every output as gprune.yaml and can be given back with `--config`.
 */

import { z } from "zod";
import { lacksUnit, parseSize } from "./base/byte_size.ts";
import {
  ALLOCATION_NAMES,
  type AllocationName,
  BIAS_CHOICES,
  type BiasChoice,
  DTYPE_CHOICES,
  type DTypeChoice,
  MAX_MODULES,
  MAX_ROUNDS,
  MAX_THREADS,
  METHODS,
  type Method,
  MIN_SEQ_LEN,
  OWN_TEXT_CHOICES,
  type OwnTextChoice,
  RECOVERIES,
  type RecoveryName,
  SET_WEIGHTS,
  SHAPES,
  type Shape,
} from "./base/choices.ts";
import { meantHint } from "./base/similar.ts";
import { wrongValues } from "./base/wrong_values.ts";
import type { TextSet } from "./calibrate/text_sets.ts";
import { GpruneError } from "./errors.ts";
import { DEVICE_DTYPES, DEVICE_NAMES, type DeviceDtype, type DeviceName } from "./graph/runtime/device.ts";
import { formatYaml, parseYaml } from "./io/files/yaml.ts";

const textSet = z.strictObject({
  name: z
    .string()
    .min(1)
    .refine((name) => name !== "__proto__", "not allowed as the name of a set")
    .describe("name of the set, for reports"),
  path: z
    .string()
    .min(1)
    .describe(
      "text, JSON, JSON Lines or Parquet file, directory of texts or source files, hf://datasets/ORG/NAME/FILE[#COLUMN], or self for text that the model generates",
    ),
  weight: z
    .number()
    .min(SET_WEIGHTS.min)
    .max(SET_WEIGHTS.max)
    .default(1)
    .describe("weight of the set relative to the others"),
});

const size = z.union([z.int().positive(), z.string()]).transform((value, context) => {
  const text = `${value}`;
  const bytes = parseSize(text);
  if (bytes !== null && !lacksUnit(text)) return bytes;
  context.addIssue({ code: "custom", message: `expected a size such as 4GB, got ${JSON.stringify(value)}` });
  return z.NEVER;
});

/** Largest number of windows of a set; larger numbers are taken for typing errors. */
const MAX_WINDOWS = 1_000_000;
/** Largest number of training steps, for the same reason. */
const MAX_STEPS = 1_000_000;

const fields = z.strictObject({
  model: z
    .string()
    .min(1)
    .describe("Hugging Face directory, .gguf file or hf://ORG/NAME[@REVISION][/FILE.gguf]"),
  output: z.string().min(1).describe("output directory"),
  sparsity: z.number().min(0).lt(1).default(0.3).describe("fraction of the prunable parameters to remove"),
  method: z.enum(METHODS).default("gprune").describe("gprune, or none for the metric alone"),
  metric: z.string().default("flap-wifv").describe("importance metric"),
  allocation: z
    .enum(ALLOCATION_NAMES)
    .optional()
    .describe("how the budget is divided among layers; default: learned with gprune, else the metric's own"),
  robust: z
    .boolean()
    .default(false)
    .describe("give sets whose loss increases most a higher weight in learning"),
  rounds: z.int().min(1).max(MAX_ROUNDS).default(8).describe("rounds of learned allocation"),
  refine: z
    .boolean()
    .optional()
    .describe(
      "adjust learned widths by measurements on the refitted model; default: on with learned allocation, shape per-layer and least squares",
    ),
  gradientWindows: z
    .int()
    .min(1)
    .max(MAX_WINDOWS)
    .optional()
    .describe(
      "windows per set for gradients in each round; default: 2, or more with fewer than five sets (10 in all)",
    ),
  fallback: z
    .string()
    .default("magnitude")
    .describe("metric for modules whose activation scores are unreliable"),
  maxModules: z.int().min(1).max(MAX_MODULES).default(4).describe("maximum number of modules in one space"),
  calibration: z
    .array(textSet)
    .refine(
      (sets) => new Set(sets.map(({ name }) => name)).size === sets.length,
      "expected different names, got two sets with the same name",
    )
    .default([])
    .describe("calibration sets"),
  ownText: z
    .enum(OWN_TEXT_CHOICES)
    .default("auto")
    .describe(
      "add a set of text that the model generates; auto: with gprune, fewer than five sets, no plan, and layers of at most 4 GiB in float32",
    ),
  samples: z
    .int()
    .positive()
    .max(MAX_WINDOWS)
    .optional()
    .describe("windows per calibration set; default: 16, or more with fewer than five sets (80 in all)"),
  refitSamples: z
    .int()
    .positive()
    .max(MAX_WINDOWS)
    .optional()
    .describe(
      "windows per set for least squares, if the text is long enough; default: twice samples, at most 240 in all",
    ),
  seqLen: z
    .int()
    .min(MIN_SEQ_LEN)
    .optional()
    .describe("tokens in a window; default: 512, or the model's context length if that is less"),
  seed: z.int().min(0).default(0).describe("seed of every random choice"),
  recover: z
    .enum(RECOVERIES)
    .optional()
    .describe("how to compensate for removed units; default: lstsq with gprune, else bias"),
  biases: z
    .enum(BIAS_CHOICES)
    .default("auto")
    .describe(
      "add biases to output projections; auto: unless they alone would keep the result out of stock classes of transformers or out of llama.cpp",
    ),
  steps: z.int().positive().max(MAX_STEPS).default(300).describe("training steps of distillation"),
  learningRate: z
    .number()
    .positive()
    .optional()
    .describe(
      "peak learning rate of distillation; default: depends on the model's width and on what was removed",
    ),
  shape: z.enum(SHAPES).default("per-layer").describe("widths of each layer, or the same in all"),
  roundTo: z.int().positive().default(1).describe("make changed FFN widths multiples of this"),
  dtype: z.enum(DTYPE_CHOICES).default("auto").describe("dtype of the output"),
  report: z.boolean().default(true).describe("write report.html"),
  plan: z.string().optional().describe("plan.json to apply instead of deciding again"),
  threads: z.int().positive().max(MAX_THREADS).optional().describe("threads per operator"),
  device: z
    .enum(DEVICE_NAMES)
    .default("cpu")
    .describe("where to compute; without the device, the CPU is used with a warning"),
  deviceDtype: z
    .enum(DEVICE_DTYPES)
    .default("f32")
    .describe("precision of products with weights on a device"),
  requireDevice: z
    .boolean()
    .default(false)
    .describe("fail if the device is missing, instead of using the CPU"),
  maxMemory: size.optional().describe("memory limit, as 4GB or 512MiB"),
});

/** Default settings, except for those that depend on other settings or on the run. */
export const DEFAULTS: Readonly<Record<string, unknown>> = fields
  .omit({ model: true, output: true })
  .parse({});

/** Settings of a run with defaults filled in; the schema holds ranges, defaults and descriptions. */
export interface RunConfig {
  readonly model: string;
  readonly output: string;
  readonly sparsity: number;
  readonly method: Method;
  readonly metric: string;
  /** Absent: learned with gprune, otherwise the allocation that the metric was published with. */
  readonly allocation?: AllocationName | undefined;
  readonly robust: boolean;
  readonly rounds: number;
  /** Absent: true with learned widths per layer and least squares. */
  readonly refine?: boolean | undefined;
  /** Absent: by the number of sets. */
  readonly gradientWindows?: number | undefined;
  readonly fallback: string;
  readonly maxModules: number;
  readonly calibration: readonly TextSet[];
  /** Whether a set of the model's own text is added. */
  readonly ownText: OwnTextChoice;
  /** Windows of every set. Absent: by the number of sets. */
  readonly samples?: number | undefined;
  /** Windows of every set for least squares. Absent: twice as many, up to 240 of all sets. */
  readonly refitSamples?: number | undefined;
  /** Tokens in a window. Absent: 512, or as many as the model takes if that is fewer. */
  readonly seqLen?: number | undefined;
  readonly seed: number;
  readonly recover: RecoveryName;
  /** Whether least squares adds biases to output projections. */
  readonly biases: BiasChoice;
  readonly steps: number;
  /** Absent: by the model's width and what was removed. */
  readonly learningRate?: number | undefined;
  readonly shape: Shape;
  readonly roundTo: number;
  readonly dtype: DTypeChoice;
  readonly report: boolean;
  readonly plan?: string | undefined;
  readonly threads?: number | undefined;
  readonly device: DeviceName;
  readonly deviceDtype: DeviceDtype;
  readonly requireDevice: boolean;
  /** Bytes. Absent: the memory of the machine. */
  readonly maxMemory?: number | undefined;
}

/** A configuration with all defaults resolved that do not depend on the texts; it settles to itself. */
export interface SettledConfig extends RunConfig {
  readonly allocation: AllocationName;
  readonly refine: boolean;
  readonly gradientWindows: number;
  readonly samples: number;
  readonly refitSamples: number;
  readonly seqLen: number;
}

/** A configuration, or a part of one: any setting may be missing. */
export interface RunConfigInput extends Partial<Omit<RunConfig, "calibration" | "maxMemory">> {
  /** Bytes, or `4GB`. */
  readonly maxMemory?: number | string | undefined;
  readonly calibration?:
    | readonly (Omit<TextSet, "weight"> & { readonly weight?: number | undefined })[]
    | undefined;
}

/** Settings that a run can be started with: those that have a default may be missing. */
export interface RunSettings extends RunConfigInput {
  readonly model: string;
  readonly output: string;
}

/** The schema of a run configuration, with the rules that span several fields. */
const runConfigSchema = fields
  .refine(
    ({ method, allocation }) => method === "gprune" || !["learned", "curves"].includes(allocation ?? ""),
    {
      path: ["allocation"],
      error:
        "learned and curves need method gprune; maxModules 1 keeps the metric's own order and only learns the allocation",
    },
  )
  .refine(({ biases, recover, method }) => biases !== "never" || (recover ?? RECOVERY[method]) !== "bias", {
    path: ["biases"],
    error: "recovery by biases (recover bias) adds some; recover lstsq needs none",
  });

/** Default recovery by method: the better one with GPrune, the published one with a metric alone. */
export const RECOVERY = { gprune: "lstsq", none: "bias" } as const;

/** Default allocation with GPrune. */
export const GPRUNE_ALLOCATION: AllocationName = "learned";

/** Whether a recovery includes least squares. */
export function refits(recover: RecoveryName): boolean {
  return recover === "lstsq" || recover === "distill";
}

/** Whether learned widths are refined: only widths per layer, of a model that least squares refits. */
export function refines({
  method,
  allocation = GPRUNE_ALLOCATION,
  recover,
  shape,
  refine = true,
}: RunConfig): boolean {
  return (
    refine && method === "gprune" && allocation === "learned" && refits(recover) && shape === "per-layer"
  );
}

/** The settings in the schema's order, so that a run and its gprune.yaml write the same text. */
export function inSchemaOrder<T extends RunConfig>(config: T): T {
  const places = new Map(Object.keys(fields.shape).map((name, place) => [name, place]));
  const place = ([name]: readonly [string, unknown]): number => places.get(name) ?? places.size;
  return Object.fromEntries(Object.entries(config).toSorted((a, b) => place(a) - place(b))) as unknown as T;
}

/** Origin of values for messages: `command line` or a file's name, or a function that returns it for a field. */
export type ConfigSource = string | ((field: string) => string);

/**
 * Checks values and fills in defaults.
 * @throws GpruneError BAD_CONFIG naming every wrong field
 */
export function resolveRunConfig(input: unknown, where: ConfigSource): RunConfig {
  const result = runConfigSchema.safeParse(input);
  if (result.success) {
    const { data } = result;
    return { ...data, recover: data.recover ?? RECOVERY[data.method] };
  }
  throw wrongFields(result.error, where);
}

/**
 * Reads a YAML (or JSON) run configuration; fields may be missing.
 * @throws GpruneError BAD_CONFIG with line and column for text that is not YAML, otherwise naming every wrong field
 */
export function parseRunConfig(text: string, where: string): Readonly<Record<string, unknown>> {
  const value = parseYaml(text, where, "BAD_CONFIG") ?? {};
  const result = fields.partial().safeParse(value);
  if (!result.success) throw wrongFields(result.error, where);
  return value as Readonly<Record<string, unknown>>;
}

function wrongFields(error: z.ZodError, where: ConfigSource): GpruneError {
  const sourceOf = typeof where === "string" ? () => where : where;
  const sources = new Set(error.issues.map(({ path: [field] }) => sourceOf(String(field))));
  const what = wrongValues(error);
  const help = "`gprune prune --help` explains the options.";
  return new GpruneError("BAD_CONFIG", `${[...sources].join(" and ")}: ${what}`, {
    hint: [...keyHint(error), help].join(" "),
    cause: error,
  });
}

/**
 * A hint at the valid key most similar to the first unknown key; empty if there is no unknown key, or none is similar.
 */
function keyHint({ issues }: z.ZodError): readonly string[] {
  const unknown = issues.find((issue) => issue.code === "unrecognized_keys");
  const [key] = unknown?.keys ?? [];
  if (unknown === undefined || key === undefined) return [];
  const { shape } = unknown.path.length === 0 ? fields : textSet;
  const hint = meantHint(key, Object.keys(shape));
  return hint === undefined ? [] : [hint];
}

/** Settings that have no effect when a plan is given, because the plan has decided them. */
export const DECIDED_BY_PLAN = [
  "sparsity",
  "method",
  "metric",
  "allocation",
  "robust",
  "rounds",
  "refine",
  "gradientWindows",
  "fallback",
  "maxModules",
  "roundTo",
] as const;

type DecidedByPlan = (typeof DECIDED_BY_PLAN)[number];

/** A configuration that may lack the settings that a given plan has decided. */
export type CountingSettings = Omit<SettledConfig, DecidedByPlan> &
  Partial<Pick<SettledConfig, DecidedByPlan>>;

/** The settings that have an effect: all or, with a given plan, those that it has not decided. */
export function countingSettings(config: SettledConfig): CountingSettings {
  if (config.plan === undefined) return config;
  const decided: ReadonlySet<string> = new Set(DECIDED_BY_PLAN);
  const counting = Object.entries(config).filter(([name]) => !decided.has(name));
  return Object.fromEntries(counting) as unknown as CountingSettings;
}

/** A configuration, or a part of one, as YAML. */
export function formatRunConfig(config: Partial<RunConfig>): string {
  return formatYaml(config);
}

/** JSON Schema of a run configuration, draft 2020-12. */
export function runConfigJsonSchema(): unknown {
  return z.toJSONSchema(runConfigSchema, { io: "input" });
}
