/**
 * JSON types that the page and its server exchange. The page imports from src/ only this file and report/format.ts.
 */

/** Most runs on a comparison page. */
export const MAX_COMPARED = 12;

/** A run in the directory that is shown. */
export interface RunSummary {
  /** Path below the directory, with slashes: `small`, `demo-out/gprune-all-kinds`. */
  readonly id: string;
  /** The id as it is shown: what could turn the direction of writing is spelled out. */
  readonly name: string;
  readonly state: "finished" | "unfinished" | "running elsewhere" | "damaged";
  /** The model, as the run's settings name it. */
  readonly base: string;
  /** ISO 8601; null if unknown. */
  readonly started: string | null;
  /** One line: metric, method, recovery. */
  readonly how: string;
  /** Results; null unless finished. */
  readonly outcome: RunFigures | null;
  /** Settings for a new run like it, in a {@link UiState} without defaults; null if damaged. */
  readonly settings: Settings | null;
  /** Why it cannot be read, or which stages are kept; null for neither. */
  readonly note: string | null;
}

/** Results of a finished run. */
export interface RunFigures {
  /** Removed fraction of the prunable parameters, 0 to 1. */
  readonly removed: number;
  readonly parameters: { readonly before: number; readonly after: number };
  /** The same as in the run's report; null when nothing was measured. */
  readonly perplexity: RunPerplexity | null;
  readonly seconds: number;
  readonly peakBytes: number;
}

/** Geometric means of perplexity over texts. */
export interface RunPerplexity {
  readonly dense: number;
  readonly pruned: number;
  /** Texts in words: `geometric mean of 5 held-out texts`, `evaluation text web`. */
  readonly on: string;
}

/** A run configuration without its output. */
export type Settings = Readonly<Record<string, unknown>>;

/** State of the run that the server started last. */
export type LiveState = "running" | "stopping" | "finished" | "stopped" | "failed";

/** The run that this server started last. */
export interface LiveRun {
  /** Name of the run's directory. */
  readonly id: string;
  /** The id as it is shown, as in a {@link RunSummary}. */
  readonly name: string;
  readonly base: string;
  /** Settings as they were requested. */
  readonly settings: Settings;
  readonly state: LiveState;
  /** Milliseconds since it was started. */
  readonly elapsed: number;
  readonly stages: readonly LiveStage[];
  /** Resident memory in bytes; null before the first report. */
  readonly memory: { readonly now: number; readonly peak: number } | null;
  /** Measurements in order, for example the loss of every set in each round. */
  readonly curves: readonly LiveCurve[];
  /** Last lines of its output. */
  readonly log: readonly string[];
  readonly failure: Problem | null;
}

/** A stage of a run in progress. */
export interface LiveStage {
  readonly name: string;
  /** Amount done at its first event; above 0 when a resumed run begins in the middle. */
  readonly begun: number;
  readonly done: number;
  readonly total: number;
  readonly unit: string;
  readonly detail: string | null;
  /** Seconds since it began, or in all once it has ended. */
  readonly seconds: number;
  readonly ended: boolean;
}

/** One measured quantity over the rounds or steps of a stage. */
export interface LiveCurve {
  /** Name of the stage without the round: `learn`, `distill`. */
  readonly stage: string;
  readonly name: string;
  /** Steps or rounds, counted from 1, and values; long curves are thinned, but end with the last value. */
  readonly points: readonly (readonly [step: number, value: number])[];
}

/** An error as the page shows it. */
export interface Problem {
  readonly code: string;
  readonly message: string;
  readonly hint: string | null;
  /** Fields of the form that are wrong; absent when it is not about fields. */
  readonly fields?: readonly FieldProblem[];
}

/** A field of the form that is wrong. */
export interface FieldProblem {
  /** Path of the setting, such as `allocation` or `calibration.0.path`; `name` is the run's name. */
  readonly path: string;
  readonly message: string;
}

/** Everything that the page shows. */
export interface UiState {
  readonly version: string;
  /** The directory whose runs are shown. */
  readonly directory: string;
  /** The directory that relative paths of a new run start at. */
  readonly workingDirectory: string;
  /** The newest runs, up to a limit. */
  readonly runs: readonly RunSummary[];
  /** Number of all runs. */
  readonly total: number;
  readonly live: LiveRun | null;
}

/** `POST /api/runs` */
export interface StartRequest {
  /** Name of the output directory to make. */
  readonly name: string;
  readonly settings: Settings;
}

/** `POST /api/resume` */
export interface ResumeRequest {
  readonly id: string;
}
