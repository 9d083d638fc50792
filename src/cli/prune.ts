/** `gprune prune` */

import { getOrMake } from "../base/map_values.ts";
import type { RunConfig, SettledConfig } from "../config.ts";
import { dryRun } from "../dry_run.ts";
import { GpruneError } from "../errors.ts";
import { type MemoryPlan, planText } from "../estimate/memory_plan.ts";
import type { Runtimes } from "../export/runtimes.ts";
import { keptProgress } from "../io/run/directory.ts";
import { type PruneOptions, prune } from "../pipeline.ts";
import type { PruneResult } from "../run/result.ts";
import { stopSignal } from "./compute_child.ts";
import { sayFallback } from "./device.ts";
import { sayWarning } from "./models.ts";
import { withProgress } from "./progress.ts";
import { configOf, type PruneCommandOptions, saidWhereNamed } from "./prune_settings.ts";
import { dryRunText, percent, summaryOf } from "./prune_summary.ts";
import { print, printJson, say } from "./terminal.ts";
import { requireCalibration } from "./text_sets.ts";

export async function pruneCommand(model: string | undefined, options: PruneCommandOptions): Promise<void> {
  // Asked for at once: from here on a signal is left to the run, which knows what is kept.
  stopSignal();
  const { config, named } = await configOf(model, options);
  const sayFile = (error: unknown): never => {
    throw saidWhereNamed(error, { paths: named, file: options.config });
  };
  await requireCalibration(config.calibration).catch(sayFile);
  if (options.dryRun) return tellDryRun(config, options).catch(sayFile);
  const result = await pruned(config, options).catch(sayFile);
  sayFarFromAsked(result, config);
  if (options.json) printJson(result);
  else print(summaryOf(result, config));
}

/** Prunes, and says on stderr what is known before. */
function pruned(config: RunConfig, options: PruneCommandOptions): Promise<PruneResult> {
  const onForeseen = options.quiet ? () => {} : sayForeseen(config);
  // Without a budget what the machine has is enough, or the run is refused.
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
    throw await saidWhatIsKept(error, config);
  });
}

/** Options that say something of a run that computes. */
const OF_COMPUTING = ["resume", "redis", "store"] as const;

/** @throws GpruneError BAD_ARGUMENT for options that mean nothing without computing */
async function tellDryRun(config: RunConfig, options: PruneCommandOptions): Promise<void> {
  const idle = OF_COMPUTING.find((name) => options[name] !== undefined);
  if (idle !== undefined) {
    throw new GpruneError("BAD_ARGUMENT", `--dry-run: expected it without --${idle}, got both`, {
      hint: "It computes nothing. Leave one of the two out.",
    });
  }
  const found = await withProgress(options, (onProgress) =>
    dryRun(config, { onProgress, onDevice: sayFallback, onWarning: sayWarning, signal: stopSignal() }),
  );
  if (options.json) printJson(found);
  else print(dryRunText(found));
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

/**
 * Who computes the passes over texts, when it is not this process. @throws GpruneError BAD_ARGUMENT for half of an
 * answer
 */
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

/** On stderr before the work: who will load the result, and what it is calibrated on besides what was asked for. */
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

/** Programs of which the same is to be said together. */
function runtimesText(runtimes: Runtimes): string {
  const alike = new Map<string, string[]>();
  for (const [program, answer] of Object.entries(runtimes)) {
    getOrMake(alike, answer, () => []).push(program);
  }
  return Array.from(alike, ([answer, programs]) => `${programs.join(", ")}: ${answer}`).join("; ");
}
