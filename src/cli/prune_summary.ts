/** Summaries that `gprune prune` prints at the end, and `--dry-run` instead. */
import { gigabytes } from "../base/byte_size.ts";
import { firstFew } from "../base/lists.ts";
import { windowsText } from "../calibrate/windows.ts";
import type { RunConfig } from "../config.ts";
import type { DryRun } from "../dry_run.ts";
import { planText } from "../estimate/memory_plan.ts";
import type { ProgramSupport } from "../export/program_support.ts";
import { neurons, range, rangeOfPresent, short, UNIT } from "../report/format.ts";
import type { PruneResult } from "../run/result.ts";
import { pairs, shellWord } from "./terminal.ts";

export function percent(fraction: number): string {
  return `${(100 * fraction).toFixed(2)} %`;
}

export function summaryOf(
  { output, sparsity, parameters, widths, ...result }: PruneResult,
  { model, plan }: RunConfig,
): string {
  const rows: (readonly [string, string])[] = [
    [
      "removed",
      `${percent(sparsity.achieved)} of attention and FFN (${plan === undefined ? `asked: ${percent(sparsity.asked)}` : "by the given plan"})`,
    ],
    ["parameters", parametersOf(parameters)],
    ["neurons", `${neurons(widths.ffn, result.experts)} per layer`],
    ["KV groups", `${rangeOfPresent(widths.kv)} per layer`],
    ...supportRows(result.runtimes),
    ["calibration", calibrationOf(result)],
    ["held out", heldOutOf(result)],
    ["time", timeOf(result)],
    ["memory", `${gigabytes(result.peak_rss_bytes)} at peak`],
    ["report", reportOf(result)],
    ["next", `gprune eval ${shellWord(output)} --text NAME=FILE --baseline ${shellWord(model)} --save`],
  ];
  return `${pairs(rows)}\n${output}`;
}

/** Summary of a dry run: what the run would take and give. */
export function dryRunText({ sparsity, parameters, memory, time, disk, ...found }: DryRun): string {
  const held = Object.values(found.held_out_windows);
  const rows: (readonly [string, string])[] = [
    ["to remove", `${percent(sparsity.asked)} of attention and FFN`],
    ["parameters", parametersOf(parameters, "about ")],
    ...supportRows(found.runtimes),
    ["calibration", calibrationOf({ ...found, held_out: found.held_out_windows, tokens_per_second: null })],
    ["held out", held.length === 0 ? "none" : `${range(held)} windows per set`],
    ...(time === null ? [] : [["time", aboutTime(time)] as const]),
    ["disk", `${gigabytes(disk.output)} for the output, at most ${gigabytes(disk.most)} during the run`],
  ];
  const closing = "Nothing was pruned or written. Repeat the command without --dry-run to prune.";
  return [pairs(rows), planText(memory), closing].join("\n\n");
}

/** `about 8 min on this machine: calibrate 3 min, learn 2 min, ...` */
function aboutTime({ seconds, stages, busy }: NonNullable<DryRun["time"]>): string {
  const each = Object.entries(stages)
    .filter(([, own]) => own >= 0.5)
    .map(([stage, own]) => `${stage} ${about(own)}`);
  const parts = each.length > 1 ? `: ${each.join(", ")}` : "";
  const where = busy ? "on this machine, which is busy with other programs" : "on this machine";
  return `about ${about(seconds)} ${where}${parts}`;
}

/** `1 s`, `40 s`, `8 min`, `3 h 20 min`: rounded as an estimate deserves. */
function about(seconds: number): string {
  if (seconds < 90)
    return `${Math.max(1, seconds < 20 ? Math.round(seconds) : 10 * Math.round(seconds / 10))} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${10 * Math.floor((minutes % 60) / 10)} min`;
}

function parametersOf({ before, after }: PruneResult["parameters"], about = ""): string {
  const count = (parameters: number): string => short(parameters).replace(UNIT, " ");
  return `${count(before)} -> ${about}${count(after)}, ${percent(1 - after / before)} fewer`;
}

function supportRows(support: ProgramSupport): readonly (readonly [string, string])[] {
  return Object.entries(support).map(([name, answer]) => [`runs in ${name}`, answer] as const);
}

function reportOf({
  report,
  report_problem: problem,
}: Pick<PruneResult, "report" | "report_problem">): string {
  if (problem !== null) return `not written (${problem}); gprune report makes it from run.json`;
  return report ?? "not requested";
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
      `${name}${each(windows)} ${dense.toFixed(2)} -> ${pruned.toFixed(2)}`,
  );
  const [count] = counts;
  const on =
    count === undefined || counts.size > 1
      ? ""
      : ` on ${windowsText(count)}${scores.length > 1 ? " per set" : ""}`;
  if (sets.length > 0) return `perplexity${on}: ${sets.join(", ")}`;
  const isUsedUp = Object.keys(calibration).length > 0;
  return `not measured; ${isUsedUp ? "no text was left" : "no texts were given"}`;
}

function calibrationOf({
  calibration,
  held_out: heldOut,
  tokens_per_second: speed,
}: Pick<PruneResult, "calibration" | "tokens_per_second"> & {
  readonly held_out: Readonly<Record<string, unknown>>;
}): string {
  const sets = Object.entries(calibration);
  if (sets.length === 0) {
    return Object.keys(heldOut).length === 0 ? "none" : "not needed with these settings";
  }
  // All windows of a set have the same length, those of least squares too.
  const tokens = sets.reduce((sum, [, { tokens: own, windows, refit_windows: refit = 0 }]) => {
    return sum + (own * Math.max(windows, refit)) / windows;
  }, 0);
  const named = sets.map(([name, { windows, refit_windows: refit }]) => {
    return `${name} ${windows}${refit === undefined ? "" : ` (least squares ${refit})`}`;
  });
  const rate = speed === null ? "" : `, ${Math.round(speed).toLocaleString("en")} tokens/s`;
  return `windows per set: ${firstFew(named).join(", ")}; ${tokens.toLocaleString("en")} tokens${rate}`;
}

/** Total time with the time of each stage; none for a run that had already ended when it was resumed. */
function timeOf({ timings }: Pick<PruneResult, "timings">): string {
  if (Object.keys(timings).length === 0) return "none; the run was already complete";
  const seconds = Object.values(timings).reduce((sum, time) => sum + time, 0);
  const stages = Object.entries(timings)
    .filter(([, time]) => time >= 0.1)
    .map(([stage, time]) => `${stage} ${time.toFixed(1)}`);
  return `${seconds.toFixed(1)} s (${stages.join(", ")})`;
}
