/** `gprune prune` */

import { getOrMake } from "../base/map_values.ts";
import type { RunConfig, SettledConfig } from "../config.ts";
import { dryRun } from "../dry_run.ts";
import { GpruneError } from "../errors.ts";
import { type MemoryPlan, planText } from "../estimate/memory_plan.ts";
import type { ProgramSupport } from "../export/program_support.ts";
import { keptProgress } from "../io/run/directory.ts";
import { type PruneOptions, prune } from "../pipeline.ts";
import type { PruneResult } from "../run/result.ts";
import { stopSignal } from "./compute_child.ts";
import { sayFallback } from "./device.ts";
import { sayWarning } from "./models.ts";
import { withProgress } from "./progress.ts";
import { configOf, type PruneCommandOptions, withPathHint } from "./prune_settings.ts";
import { dryRunText, percent, summaryOf } from "./prune_summary.ts";
import { print, printJson, say } from "./terminal.ts";
import { requireCalibration } from "./text_sets.ts";

export async function pruneAction(model: string | undefined, options: PruneCommandOptions): Promise<void> {
  // Called first: from here on the run handles signals, since it knows what is kept.
  stopSignal();
  const { config, named } = await configOf(model, options);
  const sayFile = (error: unknown): never => {
    throw withPathHint(error, { paths: named, file: options.config });
  };
  await requireCalibration(config.calibration).catch(sayFile);
  if (options.dryRun) return printDryRun(config, options).catch(sayFile);
  const result = await pruned(config, options).catch(sayFile);
  sayFarFromAsked(result, config);
  if (options.json) printJson(result);
  else print(summaryOf(result, config));
}

/** Prunes, and prints on stderr what is known beforehand. */
function pruned(config: RunConfig, options: PruneCommandOptions): Promise<PruneResult> {
  const onForeseen = options.quiet ? () => {} : sayBeforehand(config);
  // Without a budget the memory of the machine suffices, or the run is refused.
  const tellsPlan = !options.quiet && config.maxMemory !== undefined;
  const onPlanned = tellsPlan ? (plan: MemoryPlan) => say(planText(plan)) : () => {};
  const { resume = false } = options;
  const distribution = distributionOf(options, config);
  return withProgress(options, (onProgress) =>
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
  ).catch(async (error: unknown) => {
    throw await withResumeHint(error, config);
  });
}

/** Options that a dry run has no use for. */
const COMPUTING_OPTIONS = ["resume", "redis", "store"] as const;

/** Prints what a run would take and give. @throws GpruneError BAD_ARGUMENT for options that a dry run has no use for */
async function printDryRun(config: RunConfig, options: PruneCommandOptions): Promise<void> {
  const idle = COMPUTING_OPTIONS.find((name) => options[name] !== undefined);
  if (idle !== undefined) {
    throw new GpruneError("BAD_ARGUMENT", `--dry-run: expected no --${idle}, got both`, {
      hint: "A dry run prunes nothing. Leave one of the two out.",
    });
  }
  const found = await withProgress(options, (onProgress) =>
    dryRun(config, { onProgress, onDevice: sayFallback, onWarning: sayWarning, signal: stopSignal() }),
  );
  if (options.json) printJson(found);
  else print(dryRunText(found));
}

/** Difference of sparsities above which a hint is given; whole units alone cause less. */
const FAR = 0.01;

/** Hints on stderr when --shape and --round-to kept the sparsity away from the one that was asked for. */
function sayFarFromAsked(
  { sparsity: { asked, achieved } }: PruneResult,
  { shape, roundTo }: RunConfig,
): void {
  if (Math.abs(asked - achieved) < FAR || (shape === "per-layer" && roundTo === 1)) return;
  const ways = [
    ...(roundTo > 1 ? ["a smaller --round-to"] : []),
    ...(shape === "uniform" ? ["--shape per-layer"] : []),
  ];
  say(`hint: removed ${percent(achieved)} instead of ${percent(asked)}; ${ways.join(" or ")} comes closer`);
}

/** Passes over texts by workers, with --redis and --store. @throws GpruneError BAD_ARGUMENT for one of the two alone */
function distributionOf(
  { redis, store }: PruneCommandOptions,
  { threads }: RunConfig,
): Pick<PruneOptions, "openPasses"> {
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
  throw new GpruneError("BAD_ARGUMENT", `${missing}: expected together with ${given}, got none`, {
    hint: "gprune prune MODEL -o OUT --calib NAME=PATH --redis redis://HOST --store DIR",
  });
}

/** Errors after which repeating the command with --resume would fail again. */
const REFUSALS: ReadonlySet<string> = new Set(["BAD_CHECKPOINT", "LOCKED", "OUTPUT_EXISTS"]);

/** The error with a hint how to resume, when progress was kept. */
async function withResumeHint(error: unknown, { output }: RunConfig): Promise<unknown> {
  if (!(error instanceof GpruneError) || REFUSALS.has(error.code)) return error;
  const kept = await keptProgress(output);
  const { code, message, hint = "" } = error;
  if (kept === null) return code === "INTERRUPTED" ? new GpruneError(code, message) : error;
  const goOn = `Progress is kept in ${kept}; repeat the command with --resume to continue.`;
  return error.inOtherWords({ hint: code === "INTERRUPTED" ? goOn : `${hint} ${goOn}`.trim() });
}

/** Prints before the work which programs will load the result, and that the model's own text is added to few sets. */
function sayBeforehand(asked: RunConfig): (support: ProgramSupport, config: SettledConfig) => void {
  return (support, { calibration }) => {
    say(`the result will run in ${supportText(support)}`);
    const isAsked = asked.ownText === "always" || calibration.length === asked.calibration.length;
    if (isAsked) return;
    say(
      "hint: added a calibration set of text that the model generates, since there are fewer than five sets (to leave it out: --own-text never)",
    );
  };
}

/** Programs with equal answers, grouped: `vLLM, llama.cpp: yes`. */
function supportText(support: ProgramSupport): string {
  const alike = new Map<string, string[]>();
  for (const [program, answer] of Object.entries(support)) {
    getOrMake(alike, answer, () => []).push(program);
  }
  return Array.from(alike, ([answer, programs]) => `${programs.join(", ")}: ${answer}`).join("; ");
}
