/**
 * Plans a run's memory: the peak of each stage (memory_stages.ts), and which data is spilled to files so that the run
 * stays within a budget.
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

/** A run's planned use of memory and disk. */
export interface MemoryPlan {
  /** Budget, bytes (`maxMemory`); null when none is set. */
  readonly budget: number | null;
  /** Most bytes in memory at one time. */
  readonly peak: number;
  /** Items of every stage, bytes. */
  readonly stages: Readonly<Record<string, Items>>;
  readonly places: Places;
  /** Most bytes spilled to files beside the output at one time. */
  readonly spilled: number;
  /** Bytes of the moments for least squares, which the run's progress keeps on disk; 0 without least squares. */
  readonly moments: number;
  /** Bytes of the alternative projections for refining widths, kept on disk likewise; 0 without refining. */
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

/** Choices of what to hold in memory, from the most to the least. */
const CHOICES: readonly Omit<Places, "collect">[] = [
  { ...LEAST, prefetch: true, wideHead: true, keepActivations: true },
  { ...LEAST, prefetch: true, wideHead: true },
  { ...LEAST, prefetch: true },
  { ...LEAST, prefetch: true, ...INPUTS_IN_FILE },
  { ...LEAST, prefetch: true, ...INPUTS_IN_FILE, spillHidden: true },
  { ...LEAST, ...INPUTS_IN_FILE, spillHidden: true },
];

/** Share of the machine's memory allowed for choices that only save time, since other processes need memory too. */
const LUXURY = 1 / 2;

/**
 * The plan that holds the most in memory within the budget.
 * @param limit - bytes that the machine has, the budget where `maxMemory` is not set
 * @throws GpruneError OUT_OF_MEMORY naming the smallest sufficient budget
 */
export function planMemory(run: PlannedRun, limit: number): MemoryPlan {
  const { maxMemory } = run.config;
  const budget = maxMemory ?? limit;
  // Staying within a budget requires explicit garbage collection, which takes time.
  const collect = maxMemory !== undefined;
  const allowed = ({ keepActivations }: Places): number =>
    keepActivations && maxMemory === undefined ? LUXURY * limit : budget;
  for (const plan of candidatesFor(run, collect)) if (plan.peak <= allowed(plan.places)) return plan;
  const least = leastPlan(run, collect);
  // A run that exceeds the machine's memory is refused in preflight.ts.
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

/** Changes to a run that may lower its memory, by their wording in messages. */
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

/** Savings below this share of the peak are not suggested. */
const LITTLE = 0.01;

/** Changes that would lower the least peak that the run can have, for messages; empty where none would. */
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

/** The possible plans, computed lazily since mostly the first is taken. */
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
