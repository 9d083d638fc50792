/** How runs are started: by the server of the page, each in a process of its own. */

import type { ProgressEvent } from "../base/progress.ts";
import type { RunConfig } from "../config.ts";
import type { Problem } from "./api.ts";

/** Hears what a run says. */
export interface RunListener {
  onProgress(event: ProgressEvent): void;
  onMemory(rss: number): void;
  /** Lines for people. */
  onText(text: string): void;
}

/** How a run ended. */
export type RunEnding =
  | { readonly state: "finished" | "stopped" }
  | { readonly state: "failed"; readonly problem: Problem };

/** A run under way. */
export interface RunHandle {
  /** The first time asks it to stop where it can be resumed, the second time ends it. */
  stop(): void;
  readonly ending: Promise<RunEnding>;
}

export type StartRun = (
  request: { readonly config: RunConfig; readonly resume: boolean },
  listener: RunListener,
) => RunHandle;
