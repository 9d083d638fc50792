/**
 * Reduces the settings of a finished run to those that a user has to give for a similar one, without defaults and what
 * follows from others.
 */
import { windowLength } from "../calibrate/windows.ts";
import { DEFAULTS, inSchemaOrder, RECOVERY, type RunConfig, resolveRunConfig } from "../config.ts";
import { GpruneError } from "../errors.ts";
import { settleButLength } from "../run/inputs.ts";
import type { Settings } from "./api.ts";

/** What the schema wants and no form shows as a default. */
const NAMED = { model: "model", output: "output" } as const;
/** Settings whose default depends on others. */
const DERIVED = ["recover", "allocation", "refine", "gradientWindows", "refitSamples", "samples"] as const;

/**
 * A run's record has every setting as it was settled: windows by the number of sets, an allocation by the method. A
 * setting that would be settled the same way again is left out, so that it follows when the user changes another. A set
 * that the model wrote unasked stays, since whether it would come again depends on the model.
 * @returns the same settings where they are not those of a run of this version
 */
export function askedSettings(settings: Settings): Settings {
  try {
    return unsettled(settings, resolveRunConfig({ ...settings, output: NAMED.output }, "run"));
  } catch (error) {
    if (error instanceof GpruneError) return settings;
    throw error;
  }
}

/** @param config - what the settings say */
function unsettled(settings: Settings, config: RunConfig): Settings {
  const idle = new Set<string>(
    DERIVED.filter((name) => isSame(config, { ...config, [name]: usual(config, name) })),
  );
  if (config.seqLen === windowLength([], undefined)) idle.add("seqLen");
  const said = Object.entries(settings).filter(
    ([name, value]) => !(idle.has(name) || name === "calibration" || isDefault(name, value)),
  );
  const sets = config.calibration.map(({ name, path, weight }) => ({
    name,
    path,
    ...(weight !== 1 && { weight }),
  }));
  return { ...Object.fromEntries(said), ...(sets.length > 0 && { calibration: sets }) };
}

function isDefault(name: string, value: unknown): boolean {
  return !(name in NAMED || DERIVED.some((derived) => derived === name)) && DEFAULTS[name] === value;
}

/** What stands for a setting that is not said. */
function usual({ method }: RunConfig, name: (typeof DERIVED)[number]): unknown {
  return name === "recover" ? RECOVERY[method] : undefined;
}

/** Whether a run of the same sets does the same with both; a set that the model is to write is among them already. */
function isSame(config: RunConfig, other: RunConfig): boolean {
  const ends = [config, other].map((one) => JSON.stringify(inSchemaOrder(settleButLength(one, false))));
  return ends[0] === ends[1];
}
