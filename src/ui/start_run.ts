/** Interface through which the page's server starts runs, each in a process of its own. */

import type { ProgressEvent } from "../base/progress.ts";
import type { RunConfig } from "../config.ts";
import type { Problem } from "./api.ts";

/** Receives progress and output of a run. */
export interface RunListener {
  onProgress(event: ProgressEvent): void;
  /** @param rss - resident memory in bytes */
  onMemory(rss: number): void;
  /** Called with text that the run prints. */
  onText(text: string): void;
}

/** How a run ended. */
export type RunEnding =
  | { readonly state: "finished" | "stopped" }
  | { readonly state: "failed"; readonly problem: Problem };

/** A run in progress. */
export interface RunHandle {
  /** The first call asks it to stop where it can be resumed, the second one kills it. */
  stop(): void;
  /** Never rejects. */
  readonly ending: Promise<RunEnding>;
}

/** Starts or resumes a run. */
export type StartRun = (
  request: { readonly config: RunConfig; readonly resume: boolean },
  listener: RunListener,
) => RunHandle;
