/** `gprune prune` */
import { parseTextSet } from "../calibrate/windows.ts";
import { parseRunConfig, type RunConfig, resolveRunConfig } from "../config.ts";
import { readSmallFile } from "../io/file.ts";
import { type PruneResult, prune } from "../pipeline.ts";
import { plainText, print, printJson, progressDisplay } from "./terminal.ts";

/** Options as commander gives them; those that were not given are absent. */
interface PruneOptions {
  readonly config?: string;
  readonly calib?: readonly string[];
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly [setting: string]: unknown;
}

const MAX_CONFIG_BYTES = 2 ** 20;

export async function pruneCommand(model: string | undefined, options: PruneOptions): Promise<void> {
  const config = await configOf(model, options);
  const display = progressDisplay({ quiet: options.quiet });
  try {
    const result = await prune(config, { onProgress: display.onProgress });
    display.stop();
    if (options.json) printJson(result);
    else print(summaryOf(result));
  } finally {
    display.stop();
  }
}

/** The configuration file's settings, overridden by what the command line says. */
async function configOf(model: string | undefined, options: PruneOptions): Promise<RunConfig> {
  const { config: path, calib, json: _json, quiet: _quiet, ...settings } = options;
  const file =
    path === undefined
      ? {}
      : parseRunConfig(new TextDecoder().decode(await readSmallFile(path, MAX_CONFIG_BYTES)), path);
  const calibration = calib?.map((argument) => parseTextSet(argument, "--calib"));
  const given = { ...(model === undefined ? {} : { model }), ...(calibration && { calibration }) };
  return resolveRunConfig({ ...file, ...settings, ...given }, path ?? "command line");
}

function summaryOf({ output, sparsity, parameters, widths, timings, peak_rss_bytes }: PruneResult): string {
  const percent = (fraction: number): string => `${(100 * fraction).toFixed(2)} %`;
  const range = (values: readonly number[]): string => `${Math.min(...values)}-${Math.max(...values)}`;
  const seconds = Object.values(timings).reduce((sum, time) => sum + time, 0);
  const millions = (count: number): string => `${(count / 1e6).toFixed(1)} M`;
  return [
    `removed     ${percent(sparsity.achieved)} of attention and FFN (asked ${percent(sparsity.asked)})`,
    `parameters  ${millions(parameters.before)} -> ${millions(parameters.after)}`,
    `widths      ${range(widths.ffn)} neurons, ${range(widths.kv)} KV groups per layer`,
    `time        ${seconds.toFixed(1)} s, ${(peak_rss_bytes / 2 ** 30).toFixed(2)} GiB at most`,
    plainText(output),
  ].join("\n");
}
