/**
 * What the page and its server tell each other, as JSON. The page imports this file, and how the report writes numbers.
 */

/** Runs on one page of comparison. */
export const MAX_COMPARED = 12;

/** A run in the directory that is shown. */
export interface RunSummary {
  /** Path below the directory, with slashes: `small`, `demo-out/gprune-all-kinds`. */
  readonly id: string;
  readonly state: "finished" | "unfinished" | "running elsewhere" | "damaged";
  /** The model as it was named. */
  readonly base: string;
  /** ISO 8601; null where nothing says it. */
  readonly started: string | null;
  /** One line: metric, method, recovery. */
  readonly how: string;
  /** What came out; null for what is not finished. */
  readonly outcome: RunFigures | null;
  /** What a new run like it takes: in a state of the page what is no default; null for what is damaged. */
  readonly settings: Settings | null;
  /** Why it cannot be shown, or which stages are kept; null when there is nothing to say. */
  readonly note: string | null;
}

export interface RunFigures {
  /** Fraction of the prunable parameters. */
  readonly removed: number;
  readonly parameters: { readonly before: number; readonly after: number };
  /** Geometric means over texts, the same as in the run's report; null when nothing was measured. */
  readonly perplexity: RunPerplexity | null;
  readonly seconds: number;
  readonly peakBytes: number;
}

export interface RunPerplexity {
  readonly dense: number;
  readonly pruned: number;
  /** Which texts: `geometric mean of 5 held-out texts`, `evaluation text web`. */
  readonly on: string;
}

/** A run configuration without its output. */
export type Settings = Readonly<Record<string, unknown>>;

export type LiveState = "running" | "stopping" | "finished" | "stopped" | "failed";

/** The run that this server started last. */
export interface LiveRun {
  /** Of the run's directory. */
  readonly id: string;
  readonly base: string;
  /** As it was asked for. */
  readonly settings: Settings;
  readonly state: LiveState;
  /** Milliseconds since it was started. */
  readonly elapsed: number;
  readonly stages: readonly LiveStage[];
  readonly memory: { readonly now: number; readonly peak: number } | null;
  /** What was measured, in order: the loss of every set in each round. */
  readonly curves: readonly LiveCurve[];
  /** The last lines of what it said. */
  readonly log: readonly string[];
  readonly failure: Problem | null;
}

export interface LiveStage {
  readonly name: string;
  /** What was done when it was first heard of: a resumed run begins in the middle. */
  readonly begun: number;
  readonly done: number;
  readonly total: number;
  readonly unit: string;
  readonly detail: string | null;
  /** Seconds since it began, or that it took. */
  readonly seconds: number;
  readonly ended: boolean;
}

/** Values of one name over the rounds or steps of a stage. */
export interface LiveCurve {
  /** Without its round: `learn`, `distill`. */
  readonly stage: string;
  readonly name: string;
  /** Steps (or rounds) as the run counts them, from 1, and values; of long curves not all, but the last. */
  readonly points: readonly (readonly [step: number, value: number])[];
}

export interface Problem {
  readonly code: string;
  readonly message: string;
  readonly hint: string | null;
  /** The fields of a form that it is about; absent when it is about none. */
  readonly fields?: readonly FieldProblem[];
}

export interface FieldProblem {
  /** `allocation`, `calibration.0.path`; `name` is that of the run. */
  readonly path: string;
  readonly message: string;
}

/** What the page shows. */
export interface UiState {
  readonly version: string;
  /** The directory whose runs are shown. */
  readonly directory: string;
  /** The directory from which relative paths of a new run lead. */
  readonly workingDirectory: string;
  /** The newest; of very many not all. */
  readonly runs: readonly RunSummary[];
  /** How many runs there are. */
  readonly total: number;
  readonly live: LiveRun | null;
}

/** `POST /api/runs` */
export interface StartRequest {
  /** Name of the directory to be made. */
  readonly name: string;
  readonly settings: Settings;
}

/** `POST /api/resume` */
export interface ResumeRequest {
  readonly id: string;
}
