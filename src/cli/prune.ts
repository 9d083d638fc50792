/** `gprune prune` */
import { isAbsolute } from "node:path";
import {
  DECIDED_BY_PLAN,
  parseRunConfig,
  type RunConfig,
  refits,
  resolveRunConfig,
  type SettledConfig,
} from "../config.ts";
import { GpruneError } from "../errors.ts";
import type { Runtimes } from "../export/runtimes.ts";
import { readSmallText } from "../io/file.ts";
import { keptProgress } from "../io/run_directory.ts";
import { MAX_YAML_BYTES } from "../io/yaml.ts";
import { type MemoryPlan, planText } from "../memory_plan.ts";
import { type PruneOptions as PruneSettings, prune } from "../pipeline.ts";
import { range, short, UNIT } from "../report/format.ts";
import { fallbackByName } from "../run_inputs.ts";
import type { PruneResult } from "../run_result.ts";
import { metricByName } from "../score/registry.ts";
import { stopSignal } from "./compute_child.ts";
import { sayFallback } from "./device.ts";
import { sayWarning } from "./models.ts";
import { idleOption, optionOf } from "./options.ts";
import { withProgress } from "./progress.ts";
import { pairs, plainText, print, printJson, say, shellWord } from "./terminal.ts";
import { parseTextSets, requireCalibration } from "./text_sets.ts";

/** Options as commander gives them; those that were not given are absent. */
interface PruneOptions {
  readonly config?: string;
  readonly calib?: readonly string[];
  readonly resume?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly redis?: string;
  readonly store?: string;
  readonly [setting: string]: unknown;
}

export async function pruneCommand(model: string | undefined, options: PruneOptions): Promise<void> {
  const { config, named } = await configOf(model, options);
  const sayFile = (error: unknown): never => {
    throw saidWhereNamed(error, { paths: named, file: options.config });
  };
  await requireCalibration(config.calibration).catch(sayFile);
  const onForeseen = options.quiet ? () => {} : sayForeseen(config);
  // Without a budget what the machine has is enough, or the run is refused.
  const tellsPlan = !options.quiet && config.maxMemory !== undefined;
  const onPlanned = tellsPlan ? (plan: MemoryPlan) => say(planText(plan)) : () => {};
  const { resume = false } = options;
  const distribution = distributionOf(options, config);
  const result = await withProgress(options, (onProgress) =>
    prune(config, {
      onProgress,
      onForeseen,
      onDevice: sayFallback,
      onWarning: sayWarning,
      onPlanned,
      resume,
      signal: stopSignal(),
      ...distribution,
    }),
  )
    .catch(async (error: unknown) => {
      throw await saidWhatIsKept(error, config);
    })
    .catch(sayFile);
  if (!options.quiet) sayFarFromAsked(result, config);
  if (options.json) printJson(result);
  else print(summaryOf(result, config));
}

/** Of what the model's units alone do not explain: the user said which widths there may be. */
const FAR = 0.01;

/** On stderr, where widths of the user's kind leave nothing near the sparsity that was asked for. */
function sayFarFromAsked(
  { sparsity: { asked, achieved } }: PruneResult,
  { shape, roundTo }: RunConfig,
): void {
  if (Math.abs(asked - achieved) < FAR || (shape === "per-layer" && roundTo === 1)) return;
  const ways = [
    ...(roundTo > 1 ? ["a smaller --round-to"] : []),
    ...(shape === "uniform" ? ["--shape per-layer"] : []),
  ];
  say(`hint: ${percent(achieved)} went where ${percent(asked)} was asked; ${ways.join(" or ")} comes closer`);
}

function percent(fraction: number): string {
  return `${(100 * fraction).toFixed(2)} %`;
}

/** Who computes the passes over texts, when it is not this process. @throws GpruneError BAD_ARGUMENT for half of an answer */
function distributionOf(
  { redis, store }: PruneOptions,
  { threads }: RunConfig,
): Pick<PruneSettings, "openPasses"> {
  if (redis === undefined && store === undefined) return {};
  if (redis !== undefined && store !== undefined) {
    return {
      openPasses: async (base) => {
        const { distributed } = await import("../workers/remote_passes.ts");
        return distributed({ redis, store, threads })(base);
      },
    };
  }
  const [given, missing] = redis === undefined ? ["--store", "--redis"] : ["--redis", "--store"];
  throw new GpruneError("BAD_ARGUMENT", `${missing}: expected it together with ${given}, got none`, {
    hint: "gprune prune MODEL -o OUT --calib NAME=PATH --redis redis://HOST --store DIR",
  });
}

/** Errors after which the same command would fail again whatever has been kept. */
const REFUSALS: ReadonlySet<string> = new Set(["BAD_CHECKPOINT", "LOCKED", "OUTPUT_EXISTS"]);

/** An error whose hint says how to go on, when something was kept. */
async function saidWhatIsKept(error: unknown, { output }: RunConfig): Promise<unknown> {
  if (!(error instanceof GpruneError) || REFUSALS.has(error.code)) return error;
  const kept = await keptProgress(output);
  const { code, message, hint = "" } = error;
  if (kept === null) return code === "INTERRUPTED" ? new GpruneError(code, message) : error;
  const goOn = `Progress is kept in ${kept}; repeat the command with --resume to go on.`;
  return error.inOtherWords({ hint: code === "INTERRUPTED" ? goOn : `${hint} ${goOn}`.trim() });
}

/** On stderr before the work: who will load the result, and what it is calibrated on that nobody asked for. */
function sayForeseen(asked: RunConfig): (runtimes: Runtimes, config: SettledConfig) => void {
  return (runtimes, { calibration }) => {
    say(`the result will run in ${runtimesText(runtimes)}`);
    const isAsked = asked.ownText === "always" || calibration.length === asked.calibration.length;
    if (isAsked) return;
    say(
      "a set of the model's own text stands beside few sets for what they leave out; --own-text never does without",
    );
  };
}

function runtimesText(runtimes: Runtimes): string {
  return Object.entries(runtimes)
    .map(([program, answer]) => `${program}: ${answer}`)
    .join("; ");
}

/** A run's settings. */
interface Configured {
  readonly config: RunConfig;
  /** Paths that the configuration file says, and nothing else. */
  readonly named: readonly string[];
}

/** The configuration file's settings, overridden by what the command line says. */
async function configOf(model: string | undefined, options: PruneOptions): Promise<Configured> {
  const { config: path, calib, report, json: _json, quiet: _quiet, resume: _resume, ...rest } = options;
  const { redis: _redis, store: _store, ...settings } = rest;
  const file = path === undefined ? {} : parseRunConfig(await readSmallText(path, MAX_YAML_BYTES), path);
  // What the command line says is named as it is written there.
  if (typeof settings.metric === "string") metricByName(settings.metric, "--metric");
  if (typeof settings.fallback === "string") fallbackByName(settings.fallback, "--fallback");
  if (settings.plan ?? file.plan) refuseDecided(settings);
  const calibration = calib && { calibration: parseTextSets(calib, "--calib") };
  // What is not given is true here, and the file may say otherwise.
  const noReport = report === false && { report };
  const given = { ...settings, ...noReport, ...(model !== undefined && { model }), ...calibration };
  const input = { ...file, ...given };
  requireSetting(input, "model", "a Hugging Face directory, .gguf file or hf://ORG/NAME");
  requireSetting(input, "output", "a directory to be made (-o)");
  const config = resolveRunConfig(input, (field) =>
    path === undefined || Object.hasOwn(given, field) ? "command line" : path,
  );
  requireUse(settings, config);
  const byFile = (field: keyof RunConfig): boolean => !Object.hasOwn(given, field);
  const named = [
    ...(byFile("model") ? [config.model] : []),
    ...(byFile("plan") && config.plan !== undefined ? [config.plan] : []),
    ...(byFile("calibration") ? config.calibration.map(({ path: text }) => text) : []),
  ];
  return { config, named };
}

/** An error about a path that is not there, with who named it and where it was looked up. */
function saidWhereNamed(
  error: unknown,
  { paths, file }: { readonly paths: readonly string[]; readonly file: string | undefined },
): unknown {
  if (!(error instanceof GpruneError) || error.code !== "NOT_FOUND" || file === undefined) return error;
  const { message, hint = "" } = error;
  const path = paths.find((name) => !isAbsolute(name) && message.startsWith(`${name}: `));
  if (path === undefined) return error;
  const where = `${file} names it, and paths in a configuration start at the current directory, ${process.cwd()}.`;
  const next = "Run gprune where they lead to the files, or name the files anew on the command line.";
  return error.inOtherWords({ hint: `${where} ${next} ${hint}`.trim() });
}

/** Options that say something of one way to work alone. */
const USES: readonly {
  readonly settings: readonly (keyof RunConfig)[];
  readonly needed: string;
  /** What a configuration says instead; null when the options have a use. */
  readonly instead: (config: RunConfig) => string | null;
}[] = [
  {
    settings: ["steps", "learningRate"],
    needed: "--recover distill",
    instead: ({ recover }) => (recover === "distill" ? null : `--recover ${recover}`),
  },
  {
    settings: ["refitSamples"],
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
    instead: ({ allocation = "learned" }) => (allocation === "learned" ? null : `--allocation ${allocation}`),
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

/** @throws GpruneError BAD_ARGUMENT naming an option that would change nothing */
function requireUse(given: Readonly<Record<string, unknown>>, config: RunConfig): void {
  for (const { settings, needed, instead } of USES) {
    const got = instead(config);
    // Who says no to something that is not done anyway is right.
    const idle = settings.find((name) => (given[name] ?? false) !== false);
    if (got === null || idle === undefined) continue;
    throw idleOption(idle, { needed, got });
  }
}

/**
 * Options that would decide something cannot go with a plan; a file's settings may, since it can be of the run that made
 * the plan.
 * @throws GpruneError BAD_ARGUMENT naming them
 */
function refuseDecided(given: Readonly<Record<string, unknown>>): void {
  const found = DECIDED_BY_PLAN.filter((name) => given[name] !== undefined);
  if (found.length === 0) return;
  throw new GpruneError(
    "BAD_ARGUMENT",
    `plan: expected no option that decides beside it, got ${found.map(optionOf).join(", ")}`,
    {
      hint: "The plan has decided which units stay. Leave these options out, or --plan to decide anew.",
    },
  );
}

function requireSetting(input: Readonly<Record<string, unknown>>, name: string, expected: string): void {
  if (input[name] !== undefined) return;
  throw new GpruneError("BAD_ARGUMENT", `${name}: expected ${expected}, got none`, {
    hint: "gprune prune MODEL -o OUT --calib NAME=PATH; `gprune prune --help` shows more.",
  });
}

function summaryOf(
  { output, sparsity, parameters, widths, ...result }: PruneResult,
  { model, plan }: RunConfig,
): string {
  const count = (parameters: number): string => short(parameters).replace(UNIT, " ");
  const fewer = percent(1 - parameters.after / parameters.before);
  const path = plainText(output);
  const rows: (readonly [string, string])[] = [
    [
      "removed",
      `${percent(sparsity.achieved)} of attention and FFN (${plan === undefined ? `asked: ${percent(sparsity.asked)}` : "as the plan says"})`,
    ],
    ["parameters", `${count(parameters.before)} -> ${count(parameters.after)}, ${fewer} fewer`],
    ["neurons", `${range(widths.ffn)} in a layer`],
    ["KV groups", `${range(widths.kv)} in a layer`],
    ...Object.entries(result.runtimes).map(([name, answer]) => [`runs in ${name}`, answer] as const),
    ["calibration", calibrationOf(result)],
    ["held out", heldOutOf(result)],
    ["time", timeOf(result)],
    ["report", reportOf(result)],
    [
      "next",
      `gprune eval ${shellWord(path)} --text NAME=FILE --baseline ${shellWord(plainText(model))} --save`,
    ],
  ];
  return `${pairs(rows)}\n${path}`;
}

function reportOf({
  report,
  report_problem: problem,
}: Pick<PruneResult, "report" | "report_problem">): string {
  if (problem !== null) return `none (${plainText(problem)}); gprune report makes it from run.json`;
  return report === null ? "none was asked for" : plainText(report);
}

/** Perplexities before and after on unused windows of the calibration texts. */
function heldOutOf({
  held_out: heldOut,
  calibration,
}: Pick<PruneResult, "held_out" | "calibration">): string {
  const scores = Object.entries(heldOut);
  const counts = new Set(scores.map(([, { windows }]) => windows));
  const each = (windows: number): string => (counts.size === 1 ? "" : ` (${windowsText(windows)})`);
  const sets = scores.map(
    ([name, { windows, dense, pruned }]) =>
      `${plainText(name)}${each(windows)} ${dense.toFixed(2)} -> ${pruned.toFixed(2)}`,
  );
  const [count] = counts;
  const on =
    count === undefined || counts.size > 1
      ? ""
      : ` on ${windowsText(count)}${scores.length > 1 ? " each" : ""}`;
  if (sets.length > 0) return `perplexity${on} of ${sets.join(", ")}`;
  const isUsedUp = Object.keys(calibration).length > 0;
  return `nothing; ${isUsedUp ? "the texts were used up" : "no texts were given"}`;
}

function windowsText(count: number): string {
  return count === 1 ? "1 window" : `${count} windows`;
}

function calibrationOf({
  calibration,
  held_out: heldOut,
  tokens_per_second: speed,
}: Pick<PruneResult, "calibration" | "held_out" | "tokens_per_second">): string {
  const sets = Object.entries(calibration);
  if (sets.length === 0) {
    return Object.keys(heldOut).length === 0 ? "none" : "none; nothing here learns from texts";
  }
  const tokens = sets.reduce((sum, [, set]) => sum + set.tokens, 0);
  const named = sets.map(([name, { windows, refit_windows: refit }]) => {
    return `${plainText(name)} (${windows}${refit === undefined ? "" : `, least squares ${refit}`})`;
  });
  const rate = speed === null ? "" : `, ${Math.round(speed).toLocaleString("en")} tokens/s`;
  return `windows of ${named.join(", ")}; ${tokens.toLocaleString("en")} tokens${rate}`;
}

/** What took how long; a run that had ended before it was resumed took none. */
function timeOf({ timings, peak_rss_bytes: peak }: Pick<PruneResult, "timings" | "peak_rss_bytes">): string {
  if (Object.keys(timings).length === 0) return "none, the run had ended and its output is whole";
  const seconds = Object.values(timings).reduce((sum, time) => sum + time, 0);
  const stages = Object.entries(timings)
    .filter(([, time]) => time >= 0.1)
    .map(([stage, time]) => `${stage} ${time.toFixed(1)}`);
  return `${seconds.toFixed(1)} s (${stages.join(", ")}), ${(peak / 2 ** 30).toFixed(2)} GiB at most`;
}
