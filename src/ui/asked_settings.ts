/**
 * Reduces the settings of a finished run to those that a user has to give for a similar one: without defaults, and
 * without values that follow from other settings.
 */
import { windowLength } from "../calibrate/windows.ts";
import { DEFAULTS, inSchemaOrder, RECOVERY, type RunConfig, resolveRunConfig } from "../config.ts";
import { GpruneError } from "../errors.ts";
import { settleButLength } from "../run/inputs.ts";
import type { Settings } from "./api.ts";

/** Required settings, which have no default, with placeholders. */
const NAMED = { model: "model", output: "output" } as const;
/** Settings whose default depends on others. */
const DERIVED = ["recover", "allocation", "refine", "gradientWindows", "refitSamples", "samples"] as const;

/**
 * Settings without what can be derived. A run's record has resolved values, such as the number of windows, which
 * depends on the number of sets, and the allocation, which depends on the method. Those that would be resolved the same
 * way again are left out, so that they follow when the user changes another setting. A set of the model's own text
 * stays, since whether it would be added again depends on the model.
 * @returns the settings unchanged when this version cannot read them
 */
export function askedSettings(settings: Settings): Settings {
  try {
    return unsettled(settings, resolveRunConfig({ ...settings, output: NAMED.output }, "run"));
  } catch (error) {
    if (error instanceof GpruneError) return settings;
    throw error;
  }
}

/** @param config - the settings with defaults filled in */
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

/** Value of a setting that is left out. */
function usual({ method }: RunConfig, name: (typeof DERIVED)[number]): unknown {
  return name === "recover" ? RECOVERY[method] : undefined;
}

/** Whether both configurations are resolved to the same settings, without adding a set of the model's own text. */
function isSame(config: RunConfig, other: RunConfig): boolean {
  const ends = [config, other].map((one) => JSON.stringify(inSchemaOrder(settleButLength(one, false))));
  return ends[0] === ends[1];
}
