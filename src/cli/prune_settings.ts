/** Settings of `gprune prune`: the configuration file, overridden by options of the command line. */
import { isAbsolute } from "node:path";
import { isOwnText } from "../calibrate/text_sets.ts";
import {
  DECIDED_BY_PLAN,
  GPRUNE_ALLOCATION,
  parseRunConfig,
  type RunConfig,
  refits,
  resolveRunConfig,
} from "../config.ts";
import { GpruneError, hasCode } from "../errors.ts";
import { readSmallText } from "../io/files/file.ts";
import { MAX_YAML_BYTES } from "../io/files/yaml.ts";
import { isHubAddress } from "../io/hub/address.ts";
import { fallbackByName } from "../run/inputs.ts";
import { metricByName } from "../score/registry.ts";
import { idleOption, optionOf } from "./options.ts";
import { parseTextSets } from "./text_sets.ts";

/** Options as commander gives them; those that were not given are absent. */
export interface PruneCommandOptions {
  readonly config?: string;
  readonly calib?: readonly string[];
  readonly resume?: boolean;
  readonly dryRun?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly redis?: string;
  readonly store?: string;
  readonly [setting: string]: unknown;
}

/** Settings of a run, and which paths the configuration file names. */
export interface Configured {
  readonly config: RunConfig;
  /** Paths that only the configuration file names. */
  readonly named: readonly string[];
}

/**
 * Reads the configuration file, if there is one, and overrides it with options.
 * @throws GpruneError BAD_ARGUMENT, BAD_CONFIG naming the setting
 */
export async function configOf(model: string | undefined, options: PruneCommandOptions): Promise<Configured> {
  const { config: path, calib, report, json: _json, quiet: _quiet, resume: _resume, ...rest } = options;
  const { redis: _redis, store: _store, dryRun: _dryRun, ...settings } = rest;
  const file = withoutLearning(
    withoutOwnText(path === undefined ? {} : await settingsIn(path), settings),
    settings,
  );
  // Checked here, so that errors name the option.
  if (typeof settings.metric === "string") metricByName(settings.metric, "--metric");
  if (typeof settings.fallback === "string") fallbackByName(settings.fallback, "--fallback");
  if (settings.plan ?? file.plan) refuseDecided(settings);
  const calibration = calib && { calibration: parseTextSets(calib, "--calib") };
  // Commander sets `report` to true without --no-report, which must not override the file.
  const noReport = report === false && { report };
  const given = { ...settings, ...noReport, ...(model !== undefined && { model }), ...calibration };
  const input = { ...file, ...given };
  requireSetting(input, "model", "a Hugging Face directory, .gguf file or hf://ORG/NAME");
  requireSetting(input, "output", "an output directory (-o)");
  const config = resolveRunConfig(input, (field) =>
    path === undefined || Object.hasOwn(given, field) ? "command line" : path,
  );
  requireDirectoryName(config.output);
  requireUse(settings, config);
  const byFile = (field: keyof RunConfig): boolean => !Object.hasOwn(given, field);
  const named = [
    ...(byFile("model") ? [config.model] : []),
    ...(byFile("plan") && config.plan !== undefined ? [config.plan] : []),
    ...(byFile("calibration") ? config.calibration.map(({ path: text }) => text) : []),
  ];
  return { config, named };
}

async function settingsIn(path: string): Promise<Partial<RunConfig>> {
  return parseRunConfig(await readSmallText(path, MAX_YAML_BYTES), path);
}

/**
 * A file's settings, without the set of the model's own text if the command line has --own-text never: the gprune.yaml
 * of an output lists that set.
 */
function withoutOwnText(
  file: Partial<RunConfig>,
  { ownText }: Readonly<Record<string, unknown>>,
): Partial<RunConfig> {
  const { calibration } = file;
  if (ownText !== "never" || calibration === undefined) return file;
  return { ...file, calibration: calibration.filter((set) => !isOwnText(set)) };
}

/**
 * A file's settings, without an allocation that needs GPrune if the command line has --method none: the gprune.yaml of
 * an output names one.
 */
function withoutLearning(
  file: Partial<RunConfig>,
  { method, allocation }: Readonly<Record<string, unknown>>,
): Partial<RunConfig> {
  const isLearned = file.allocation === "learned" || file.allocation === "curves";
  if (method !== "none" || file.method === "none" || allocation !== undefined || !isLearned) return file;
  const { allocation: _, ...others } = file;
  return others;
}

/** A NOT_FOUND error about a path of the configuration file, with a hint how relative paths are resolved. */
export function withPathHint(
  error: unknown,
  { paths, file }: { readonly paths: readonly string[]; readonly file: string | undefined },
): unknown {
  if (!hasCode(error, "NOT_FOUND") || file === undefined) return error;
  const { message, hint = "" } = error;
  const path = paths.find((name) => !isAbsolute(name) && message.startsWith(`${name}: `));
  if (path === undefined) return error;
  const where = `The path is from ${file}. Relative paths start at the current directory, ${process.cwd()}.`;
  const next =
    "Run gprune in the directory that they are relative to, or give the paths on the command line.";
  return error.inOtherWords({ hint: `${where} ${next} ${hint}`.trim() });
}

/** Options that have an effect only with a certain other setting. */
const USES: readonly {
  readonly settings: readonly (keyof RunConfig)[];
  readonly needed: string;
  /** The option that a configuration has instead of `needed`; null when it has that. */
  readonly instead: (config: RunConfig) => string | null;
}[] = [
  {
    settings: ["steps"],
    needed: "--recover distill",
    instead: ({ recover }) => (recover === "distill" ? null : `--recover ${recover}`),
  },
  {
    settings: ["biases", "refitSamples"],
    needed: "--recover lstsq",
    instead: ({ recover }) => (refits(recover) ? null : `--recover ${recover}`),
  },
  {
    settings: ["fallback", "maxModules", "robust", "rounds", "refine", "gradientWindows"],
    needed: "--method gprune",
    instead: ({ method }) => (method === "gprune" ? null : `--method ${method}`),
  },
  {
    settings: ["robust", "rounds", "refine", "gradientWindows"],
    needed: "--allocation learned",
    instead: ({ allocation = GPRUNE_ALLOCATION }) =>
      allocation === "learned" ? null : `--allocation ${allocation}`,
  },
  {
    settings: ["refine"],
    needed: "--recover lstsq",
    instead: ({ recover }) => (refits(recover) ? null : `--recover ${recover}`),
  },
  {
    settings: ["refine"],
    needed: "--shape per-layer",
    instead: ({ shape }) => (shape === "per-layer" ? null : `--shape ${shape}`),
  },
];

/** @throws GpruneError BAD_ARGUMENT naming an option that would have no effect */
function requireUse(given: Readonly<Record<string, unknown>>, config: RunConfig): void {
  for (const { settings, needed, instead } of USES) {
    const got = instead(config);
    // Switching off what is off anyway is allowed.
    const idle = settings.find((name) => (given[name] ?? false) !== false);
    if (got === null || idle === undefined) continue;
    throw idleOption(idle, { needed, got });
  }
}

/**
 * Refuses options about decisions beside a plan. Settings of a file are allowed, since it may be the gprune.yaml of the
 * run that made the plan.
 * @throws GpruneError BAD_ARGUMENT naming them
 */
function refuseDecided(given: Readonly<Record<string, unknown>>): void {
  const found = DECIDED_BY_PLAN.filter((name) => given[name] !== undefined);
  if (found.length === 0) return;
  throw new GpruneError(
    "BAD_ARGUMENT",
    `plan: expected no other option that decides what to remove, got ${found.map(optionOf).join(", ")}`,
    {
      hint: "The plan says which units stay. Leave these options out, or leave --plan out to decide again.",
    },
  );
}

/** @throws GpruneError BAD_ARGUMENT for a hub address, and for the name of a GGUF file, which `gprune export` writes */
function requireDirectoryName(output: string): void {
  if (isHubAddress(output)) {
    throw new GpruneError("BAD_ARGUMENT", `output: expected a directory name, got ${output}`, {
      hint: `Prune into a directory, then upload it: gprune push DIR ${output.replace(/^hf:\/\//, "")}`,
    });
  }
  if (!/\.gguf\/*$/i.test(output)) return;
  throw new GpruneError("BAD_ARGUMENT", `output: expected a directory name, got ${output}`, {
    hint: `Prune into a directory, then export it: gprune export DIR -o ${output}`,
  });
}

function requireSetting(input: Readonly<Record<string, unknown>>, name: string, expected: string): void {
  if (input[name] !== undefined) return;
  throw new GpruneError("BAD_ARGUMENT", `${name}: expected ${expected}, got none`, {
    hint: "Usage: gprune prune MODEL -o OUT --calib NAME=PATH; `gprune prune --help` shows more.",
  });
}
