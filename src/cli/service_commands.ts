/** Definitions of `gprune worker` and `ui`, which run until they are stopped. */
import type { Command } from "commander";
import { GpruneCommand, notes, redisOption, storeOption, threadsOption } from "./common.ts";
import { countOption } from "./options.ts";

export const workerCommand: Command = new GpruneCommand("worker")
  .summary("compute units of work of distributed prunes, on this machine")
  .description(
    "Computes units of work of every `gprune prune` with the same queue and store, until it gets a signal. " +
      "Any number may run, on any number of machines; all need the same versions of gprune and Node, and processors " +
      "with the same instruction sets, so that the output is the same as that of a run on one machine, byte for byte.",
  )
  .usage("--redis URL --store DIR [options]")
  .addOption(redisOption("where units wait").makeOptionMandatory())
  .addOption(storeOption().makeOptionMandatory())
  .option("--model <path>", "path of the model on this machine (default: the run's path)")
  .addOption(threadsOption())
  .addOption(countOption("--unit-limit <seconds>", "time limit of a unit (default: 21600)", { min: 1 }))
  .option("--json", "print every event as a line of JSON on stdout")
  .addHelpText(
    "after",
    notes(`
Whoever can write to the queue's server or to the store decides what workers compute: keep both inside your network.

Examples:
  $ gprune worker --redis redis://HOST --store /mnt/shared
  $ gprune worker --redis redis://HOST --store /mnt/shared --model /models/MODEL --threads 8`),
  )
  .action(async (options) => (await import("./worker.ts")).workerAction(options));

export const uiCommand: Command = new GpruneCommand("ui")
  .summary("serve a local page: runs, live progress, new runs, comparisons, reports")
  .description(
    "Serves a page on this machine that lists the runs below a directory, starts, shows, stops and resumes prunes, " +
      "compares runs and opens their reports. It listens on 127.0.0.1 only; the address it prints has a token in it.",
  )
  .usage("[DIR] [options]")
  .argument("[dir]", "directory of runs", ".")
  .addOption(
    countOption("--port <n>", "port to listen on; 0 picks a free one", { min: 0, max: 65_535, default: 0 }),
  )
  .addHelpText("after", "\nExample:\n  $ gprune ui runs --port 4747")
  .action(async (directory, options) => (await import("./ui.ts")).uiAction(directory, options));
