/** Starts runs of `gprune prune` for the page, each in a child process. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { formatRunConfig } from "../config.ts";
import { outputFailed } from "../io/files/output_file.ts";
import { makeTemporary } from "../io/files/scratch.ts";
import type { RunEnding, StartRun } from "../ui/start_run.ts";
import { ComputeProcess, type Outcome } from "./compute_process.ts";

/**
 * Starter of runs for the page's server.
 * @param script - path of the command line's program
 * @param execArgv - options of Node; those of this process when absent
 * @returns a function that throws GpruneError OUTPUT_FAILED when there is no place for temporary files
 */
export function pruneStarter(script: string, execArgv?: readonly string[]): StartRun {
  return ({ config, resume }, listener) => {
    const text = formatRunConfig(config);
    const directory = makeTemporary("gprune-ui-");
    const file = join(directory, "run.yaml");
    try {
      writeFileSync(file, text);
    } catch (cause) {
      removeIfPossible(directory);
      throw outputFailed(file, cause);
    }
    const args = ["prune", "--config", file, ...(resume ? ["--resume"] : [])];
    const child = new ComputeProcess(
      { script, args, ...(execArgv !== undefined && { execArgv }) },
      {
        onProgress: (event) => listener.onProgress(event),
        onProgressEnd: () => {},
        onOut: (text) => listener.onText(text),
        onErr: (text) => listener.onText(text),
        onMemory: (rss) => listener.onMemory(rss),
      },
    );
    const ending = child.outcome
      .then((outcome) => endingOf(outcome, file))
      .finally(() => removeIfPossible(directory));
    return { stop: () => child.stop("SIGINT"), ending };
  };
}

/** Removes a temporary directory; how the run ended matters more than one that stays. */
function removeIfPossible(directory: string): void {
  try {
    rmSync(directory, { recursive: true, force: true });
  } catch {}
}

/** Ending of a run, as the page shows it. @param file - the configuration file that was made for the run */
function endingOf(outcome: Outcome, file: string): RunEnding {
  switch (outcome.kind) {
    case "exited":
      return { state: "finished" };
    case "interrupted":
      return { state: "stopped" };
    case "failed": {
      const { code = "INTERNAL", message, hint = null } = outcome.failure;
      return { state: "failed", problem: { code, message, hint: hint && hintForPage(hint, file) } };
    }
  }
}

/** Sentences with advice about the command line. */
const COMMAND_ADVICE = /command|(^|[\s`])--[a-z]|^Run gprune/;
/** Options in parentheses after what they set. */
const NAMED_OPTIONS = / \(--[a-z][^()]*\)/g;

/**
 * A hint without options, and without sentences about the command line or a file that the page's user never saw.
 * @param file - the configuration file that was made for the run
 * @returns null when nothing is left
 */
export function hintForPage(hint: string, file: string): string | null {
  const sentences = hint.replaceAll(NAMED_OPTIONS, "").split(/(?<=[.!?])\s+/);
  const left = sentences.filter((sentence) => !sentence.includes(file) && !COMMAND_ADVICE.test(sentence));
  return left.length === 0 ? null : left.join(" ");
}
