/**
 * What a run will hold in memory, stage by stage (memory_stages.ts), and what waits in files so that it stays within a
 * budget.
 */
import { decimalSize, enoughGigabytes, gigabytes } from "../base/byte_size.ts";
import { orList } from "../base/lists.ts";
import { isOwnText, OWN_TEXT } from "../calibrate/windows.ts";
import { GpruneError } from "../errors.ts";
import { CPU } from "../graph/runtime/device.ts";
import { LOT_BYTES } from "../graph/runtime/memory_policy.ts";
import { largestBy, smallestBy } from "../tensor/statistics.ts";
import type { Items, Places } from "./memory_sizes.ts";
import { fileBytes, stageItems } from "./memory_stages.ts";
import type { PlannedRun } from "./planned_run.ts";

/** A run's use of memory. */
export interface MemoryPlan {
  /** Bytes it is to stay within; null when none were named. */
  readonly budget: number | null;
  /** Bytes, at most at one time. */
  readonly peak: number;
  /** Items of every stage, bytes. */
  readonly stages: Readonly<Record<string, Items>>;
  readonly places: Places;
  /** Bytes that wait in files beside the output, at most at one time. */
  readonly spilled: number;
  /** Bytes of the moments that least squares needs, which the run's progress keeps on the disk; 0 without it. */
  readonly moments: number;
  /**
   * Bytes of the projections of all widths that refining asks for, which its progress keeps on the disk; 0 without it.
   */
  readonly refined: number;
}

const LEAST = {
  prefetch: false,
  spillHidden: false,
  spillInputs: false,
  lotBytes: LOT_BYTES.memory,
  keepActivations: false,
  wideHead: false,
};
const INPUTS_IN_FILE = { spillInputs: true, lotBytes: LOT_BYTES.file };

/** From everything in memory to as little as will do. */
const CHOICES: readonly Omit<Places, "collect">[] = [
  { ...LEAST, prefetch: true, wideHead: true, keepActivations: true },
  { ...LEAST, prefetch: true, wideHead: true },
  { ...LEAST, prefetch: true },
  { ...LEAST, prefetch: true, ...INPUTS_IN_FILE },
  { ...LEAST, prefetch: true, ...INPUTS_IN_FILE, spillHidden: true },
  { ...LEAST, ...INPUTS_IN_FILE, spillHidden: true },
];

/** Share of the machine's memory that what is merely faster may have: other processes are there as well. */
const LUXURY = 1 / 2;

/**
 * The plan that holds most in memory within the budget.
 * @param limit - bytes that the machine has, when no budget is named
 * @throws GpruneError OUT_OF_MEMORY saying how small a budget would do
 */
export function planMemory(run: PlannedRun, limit: number): MemoryPlan {
  const { maxMemory } = run.config;
  const budget = maxMemory ?? limit;
  // A budget is paid for with the time that collecting garbage takes.
  const collect = maxMemory !== undefined;
  const allowed = ({ keepActivations }: Places): number =>
    keepActivations && maxMemory === undefined ? LUXURY * limit : budget;
  for (const plan of candidatesFor(run, collect)) if (plan.peak <= allowed(plan.places)) return plan;
  const least = leastPlan(run, collect);
  // What the machine cannot hold is refused in preflight.ts.
  if (maxMemory === undefined) return least;
  const [stage, items] = largestStage(least);
  throw new GpruneError(
    "OUT_OF_MEMORY",
    `max-memory: expected at least ${enoughGigabytes(least.peak)} for this run, got ${decimalSize(maxMemory)}`,
    {
      hint: `${stage} alone takes ${itemsText(items)}. Give ${orList(["more memory", ...waysToNeedLess(run)])}.`,
    },
  );
}

/** Ways to change a run, for messages. */
const WAYS: Readonly<Record<string, (run: PlannedRun) => PlannedRun>> = {
  "shorter windows (--seq-len)": ({ config, tokens, refitTokens, ...run }) => {
    const seqLen = Math.max(8, Math.ceil(config.seqLen / 2));
    const share = seqLen / config.seqLen;
    return {
      ...run,
      config: { ...config, seqLen },
      tokens: share * tokens,
      refitTokens: share * refitTokens,
    };
  },
  "fewer windows (--samples)": ({ config, tokens, ...run }) => {
    const samples = Math.ceil(config.samples / 2);
    return { ...run, config: { ...config, samples }, tokens: (tokens * samples) / config.samples };
  },
  "fewer windows for least squares (--refit-samples)": ({ config, refitTokens, ...run }) => {
    const refitSamples = Math.ceil(config.refitSamples / 2);
    const share = refitSamples / config.refitSamples;
    return { ...run, config: { ...config, refitSamples }, refitTokens: share * refitTokens };
  },
  [`no text of the model's own (--own-text never, no set at ${OWN_TEXT})`]: ({ config, ...run }) => {
    const calibration = config.calibration.filter((set) => !isOwnText(set));
    return { ...run, config: { ...config, calibration } };
  },
  "learned widths as they are (--no-refine)": ({ config, ...run }) => {
    return { ...run, config: { ...config, refine: false } };
  },
  "a recovery that needs less (--recover bias)": ({ config, ...run }) => {
    return { ...run, config: { ...config, recover: "bias" } };
  },
};

/** A share of the peak that is not worth a change. */
const LITTLE = 0.01;

/** What would lower the least that the run can hold, for messages; none where nothing would. */
export function waysToNeedLess(run: PlannedRun): readonly string[] {
  const collect = run.config.maxMemory !== undefined;
  const enough = (1 - LITTLE) * leastPlan(run, collect).peak;
  return Object.entries(WAYS).flatMap(([way, change]) =>
    leastPlan(change(run), collect).peak < enough ? [way] : [],
  );
}

/** Lines for people. */
export function planText({ budget, peak, stages, places, spilled }: MemoryPlan): string {
  const within = budget === null ? "" : ` of ${gigabytes(budget)}`;
  const where = spilled > 0 ? `; up to ${gigabytes(spilled)} wait in files beside the output` : "";
  const layers = places.prefetch ? "the next layer is read while one is computed" : "one layer at a time";
  const width = Math.max(...Object.keys(stages).map(({ length }) => length));
  const lines = Object.entries(stages).map(
    ([stage, items]) => `  ${stage.padEnd(width)} ${gigabytes(sum(items)).padStart(8)}  ${itemsText(items)}`,
  );
  return [`memory: at most ${gigabytes(peak)}${within}${where}; ${layers}`, ...lines].join("\n");
}

/** Each planned when it is asked for: mostly the first will do. */
function* candidatesFor(run: PlannedRun, collect: boolean): Generator<MemoryPlan> {
  for (const places of CHOICES) {
    if (places.keepActivations && run.config.device !== CPU.name) continue;
    yield planOf(run, { ...places, collect });
  }
}

function leastPlan(run: PlannedRun, collect: boolean): MemoryPlan {
  return smallestBy([...candidatesFor(run, collect)], ({ peak }) => peak);
}

function planOf(run: PlannedRun, places: Places): MemoryPlan {
  const stages = stageItems(run, places);
  const peak = Math.max(...Object.values(stages).map(sum));
  return { budget: run.config.maxMemory ?? null, peak, stages, places, ...fileBytes(run, places) };
}

function largestStage({ stages }: MemoryPlan): readonly [string, Items] {
  return largestBy(Object.entries(stages), ([, items]) => sum(items));
}

/** Items of ten megabytes and more, largest first. */
function itemsText(items: Items): string {
  return Object.entries(items)
    .filter(([, bytes]) => bytes >= 1e7)
    .sort(([, a], [, b]) => b - a)
    .map(([name, bytes]) => `${name} ${(bytes / 1e9).toFixed(2)}`)
    .join(", ");
}

function sum(items: Items): number {
  return Object.values(items).reduce((a, b) => a + b, 0);
}
