/** Summary of the rounds: time, speed and memory of every side relative to gprune, and whether targets are reached. */
import { type Spread, spread } from "../../src/tensor/statistics.ts";
import { type Difference, differences } from "./difference.ts";
import { type Answer, JOBS, type Job } from "./jobs.ts";

/** The compared sides, gprune first. */
export const SIDES = ["gprune", "PyTorch float32", "PyTorch bfloat16 autocast"] as const;

export type Side = (typeof SIDES)[number];

/** One round: the answers of all sides to all jobs, and the seconds of the bare products. */
export interface Round {
  readonly answers: Readonly<Record<Job, Readonly<Partial<Record<Side, Answer>>>>>;
  readonly bare: { readonly calibrate: number; readonly gradients: number };
}

/** A job on one side. */
export interface Row {
  readonly job: Job;
  readonly side: Side;
  readonly tokens: number;
  readonly seconds: Spread;
  readonly peakBytes: Spread;
  readonly startBytes: Spread;
  /** Time relative to gprune in the same round; absent for gprune itself. */
  readonly timesSlower?: Spread;
  /** Peak memory of gprune relative to this side, in the same round. */
  readonly ownMemory?: Spread;
  /** Differences of gprune's results from this side's, by result. */
  readonly differences?: Readonly<Record<string, Difference>>;
}

/** A quantity with its wanted value. */
export interface Target {
  readonly what: string;
  readonly got: Spread;
  readonly wanted: number;
  /** Whether `wanted` is a lower or an upper bound. */
  readonly at: "least" | "most";
}

/** A row for every job and side. @param tokens - number of tokens of each job */
export function rowsOf(rounds: readonly Round[], tokens: Readonly<Record<Job, number>>): readonly Row[] {
  return JOBS.flatMap((job) =>
    SIDES.flatMap((side) => {
      const pairs = rounds.flatMap(({ answers }) => {
        const [ours, theirs] = [answers[job].gprune, answers[job][side]];
        return ours === undefined || theirs === undefined ? [] : [{ ours, theirs }];
      });
      return pairs.length === 0 ? [] : [rowOf({ job, side, tokens: tokens[job] }, pairs)];
    }),
  );
}

function rowOf(
  what: Pick<Row, "job" | "side" | "tokens">,
  pairs: readonly { readonly ours: Answer; readonly theirs: Answer }[],
): Row {
  const over = (of: (pair: { ours: Answer; theirs: Answer }) => number): Spread => spread(pairs.map(of));
  const measured = {
    seconds: over(({ theirs }) => theirs.seconds),
    peakBytes: over(({ theirs }) => theirs.peakBytes),
    startBytes: over(({ theirs }) => theirs.startBytes),
  };
  if (what.side === "gprune") return { ...what, ...measured };
  const { ours, theirs } = pairs[0]!;
  return {
    ...what,
    ...measured,
    timesSlower: over(({ ours, theirs }) => theirs.seconds / ours.seconds),
    ownMemory: over(({ ours, theirs }) => ours.peakBytes / theirs.peakBytes),
    differences: differences(ours.values, theirs.values),
  };
}

const NAMES: Readonly<Record<Job, string>> = {
  calibrate: "calibration",
  gradients: "forward and backward",
  evaluate: "evaluation",
};

/** Wanted share of the bare products' speed, and speed relative to PyTorch in float32. */
const WANTED: Readonly<Record<Job, { readonly bare?: number; readonly faster: number }>> = {
  calibrate: { bare: 0.85, faster: 1.5 },
  gradients: { bare: 0.75, faster: 1.3 },
  evaluate: { faster: 1.3 },
};
/** Wanted peak memory relative to PyTorch in float32. */
const WANTED_MEMORY = 0.5;

export function targetsOf(rounds: readonly Round[], rows: readonly Row[]): readonly Target[] {
  return JOBS.flatMap((job) => {
    const { bare, faster } = WANTED[job];
    const { timesSlower, ownMemory } = rows.find((row) => row.job === job && row.side === "PyTorch float32")!;
    const what = NAMES[job];
    const speed = {
      what: `${what}: speed over PyTorch's`,
      got: timesSlower!,
      wanted: faster,
      at: "least",
    } as const;
    const memory = {
      what: `${what}: peak memory over PyTorch's`,
      got: ownMemory!,
      wanted: WANTED_MEMORY,
      at: "most",
    } as const;
    if (bare === undefined || job === "evaluate") return [speed, memory];
    const shares = rounds.map((round) => round.bare[job] / round.answers[job].gprune!.seconds);
    const share = {
      what: `${what}: share of bare speed`,
      got: spread(shares),
      wanted: bare,
      at: "least",
    } as const;
    return [share, speed, memory];
  });
}

/** `reached`, or by how many percent the median misses the target. */
export function verdict({ got: { median }, wanted, at }: Target): string {
  const reached = at === "least" ? median >= wanted : median <= wanted;
  if (reached) return "reached";
  const missing = Math.abs(median / wanted - 1);
  return `${(100 * missing).toFixed(0)} % ${at === "least" ? "too little" : "too much"}`;
}
