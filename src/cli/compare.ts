/** `gprune compare` */
import { windowLength } from "../calibrate/windows.ts";
import { compareModels } from "../evaluate/compare.ts";
import type { LatencyOptions } from "../evaluate/latency.ts";
import { comparisonTable } from "../report/comparison_table.ts";
import { type MaterialCommandOptions, namedMaterial, requireMaterial } from "./material.ts";
import { hearing, settingsOf } from "./measuring_settings.ts";
import { idleOption } from "./options.ts";
import { resumeSettings } from "./resume_settings.ts";
import { print, printJson } from "./terminal.ts";
import { type ComputingOptions, withModels } from "./with_models.ts";

type Timing = Omit<LatencyOptions, "onProgress">;

/** Defaults of --speed, as --help gives them. */
const TIMING: Timing = { batch: 1, promptTokens: 128, newTokens: 32, repeats: 5 };

interface CompareOptions extends MaterialCommandOptions, ComputingOptions, Partial<Timing> {
  readonly resume?: string;
  readonly speed?: boolean;
  readonly json?: boolean;
}

export async function compareAction(
  [first, second, others]: readonly [string, string, readonly string[]],
  { resume, json, ...options }: CompareOptions,
): Promise<void> {
  const timing = timingOf(options);
  const { texts, ...material } = await namedMaterial(options);
  if (resume !== undefined) requireMaterial("resume", { texts, ...material });
  const paths = [first, second, ...others];
  const found = await withModels(paths, options, async ({ models, runtime, device, onProgress }) => {
    const speed = timing && { ...timing, onProgress };
    const seqLen = windowLength(models, material.seqLen);
    const heard = hearing();
    const told = { ...material, ...heard.listeners, seqLen, speed, onProgress, ...resumeSettings(resume) };
    return {
      models: await compareModels({ models, runtime }, texts, told),
      settings: settingsOf({ texts, ...material, seqLen }, device.used, heard),
    };
  });
  if (json) printJson(found);
  else print(comparisonTable(found.models));
}

/** Options of speed measurement; undefined without --speed. @throws GpruneError BAD_ARGUMENT for one without --speed */
function timingOf({ speed, ...given }: CompareOptions): Timing | undefined {
  const { batch, promptTokens, newTokens, repeats } = { ...TIMING, ...given };
  if (speed) return { batch, promptTokens, newTokens, repeats };
  const idle = Object.keys(TIMING).find((name) => given[name as keyof Timing] !== undefined);
  if (idle !== undefined) throw idleOption(idle, { needed: "--speed", got: "none" });
}
