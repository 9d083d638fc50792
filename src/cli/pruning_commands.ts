/** Definitions of `gprune prune`, `sensitivity`, `worker`, `ui` and `demo`. */

import type { Command } from "commander";
import {
  ALLOCATION_NAMES,
  MAX_MODULES,
  MAX_ROUNDS,
  METHODS,
  MIN_SEQ_LEN,
  OWN_TEXT_CHOICES,
  RECOVERIES,
  SHAPES,
} from "../base/choices.ts";
import { METRICS } from "../score/registry.ts";
import {
  computing,
  computingOptions,
  dtypeOption,
  GpruneCommand,
  MODEL,
  notes,
  redisOption,
  seqLenOption,
  sparsityOption,
  storeOption,
  tellingOptions,
  threadsOption,
} from "./common.ts";
import { deviceOptions } from "./device.ts";
import { choiceOption, countOption, sizeOption, textSetsOption } from "./options.ts";
import { pairs } from "./terminal.ts";

const TEXT_METRICS = METRICS.filter(({ input }) => input !== "weights")
  .map(({ name }) => name)
  .join(", ");

export const pruneCommand: Command = new GpruneCommand("prune")
  .summary("remove FFN neurons and attention KV groups, and save the smaller model")
  .description(
    "Removes whole FFN neurons and whole attention KV groups (a key/value head with the query heads that read it), " +
      "and saves the smaller model as a Hugging Face directory with its plan, configuration and model card.",
  )
  .usage("MODEL -o DIR [options]")
  .argument("[model]", `${MODEL}; may be in the --config file instead`)
  .option("-o, --output <dir>", "directory to be made")
  .addOption(sparsityOption("(default: 0.3)"))
  .optionsGroup("What decides:")
  .addOption(choiceOption("--method <name>", "gprune, or the metric alone (default: gprune)", METHODS))
  .option("--metric <name>", "importance metric, see below (default: flap-wifv)")
  .addOption(
    choiceOption(
      "--allocation <name>",
      "how layers share the budget; learned with gprune, else the metric's own. curves needs no gradients",
      ALLOCATION_NAMES,
    ),
  )
  .option(
    "--refine",
    "move learned widths by what others are worth to the refitted model (so it is by default)",
  )
  .option("--no-refine", "leave learned widths as they are, which decides in about two thirds of the time")
  .option("--robust", "when learning, let the sets that suffer most count more")
  .addOption(
    choiceOption(
      "--recover <how>",
      "how removed units are made up for: least squares with gprune, else biases; distill trains after least squares",
      RECOVERIES,
    ),
  )
  .addOption(countOption("--steps <n>", "training steps of --recover distill (default: 300)", { min: 1 }))
  .addOption(
    countOption("--rounds <n>", `rounds of learned allocation, up to ${MAX_ROUNDS} (default: 8)`, {
      min: 1,
      max: MAX_ROUNDS,
    }),
  )
  .addOption(
    countOption(
      "--gradient-windows <n>",
      "windows of every set in each round (default: 2, or so many that the sets have 10)",
      { min: 1 },
    ),
  )
  .addOption(
    countOption(
      "--max-modules <n>",
      `most behaviour modules in one space, up to ${MAX_MODULES}; 1 switches them off (default: 4)`,
      { min: 1, max: MAX_MODULES },
    ),
  )
  .option("--fallback <name>", "metric of modules with unreliable scores (default: magnitude)")
  .addOption(
    choiceOption(
      "--shape <name>",
      "widths: every layer its own, or the same in all (default: per-layer)",
      SHAPES,
    ),
  )
  .addOption(
    countOption("--round-to <n>", "FFN widths that change become multiples of this (default: 1)", { min: 1 }),
  )
  .addOption(countOption("--seed <n>", "drives every random choice (default: 0)", { min: 0 }))
  .option("--plan <file>", "carry out a plan.json instead of deciding anew; excludes the options that decide")
  .option(
    "--config <file>",
    "YAML file with any of these settings; options override it, and paths in it start at the current directory",
  )
  .optionsGroup("Calibration:")
  .addOption(textSetsOption("--calib <sets...>", "NAME=PATH[:WEIGHT] each, see below"))
  .addOption(
    countOption("--samples <n>", "windows of every set (default: 16, or so many that the sets have 80)", {
      min: 1,
    }),
  )
  .addOption(
    countOption(
      "--refit-samples <n>",
      "windows of every set for least squares (default: twice as many, up to 240 of all sets); so many that they need more than 8 MB of a longer text also change which windows decide",
      {
        min: 1,
      },
    ),
  )
  .addOption(seqLenOption(MIN_SEQ_LEN))
  .addOption(
    choiceOption(
      "--own-text <when>",
      "whether the model writes one more set; auto: beside fewer than five sets, see below (default: auto)",
      OWN_TEXT_CHOICES,
    ),
  )
  .optionsGroup("Output and running:")
  .addOption(dtypeOption())
  .option("--no-report", "write no report.html")
  .addOptions(computingOptions())
  .addOption(
    sizeOption(
      "--max-memory <size>",
      "memory that computing may take, 4GB or 512MiB; the bytes stay the same",
    ),
  )
  .option("--dry-run", "read and check everything, say what the run would take and give, and stop")
  .option("--resume", "go on with a run that was interrupted, with the same bytes in the end")
  .addOption(redisOption("have `gprune worker`s compute the passes over the texts; needs --store"))
  .addOption(storeOption())
  .addOptions(tellingOptions())
  .addHelpText(
    "after",
    notes(`
Metrics, from activations or gradients on the calibration sets or from the weights alone:
${metricLines()}

PATH is a text, JSON, JSON Lines or Parquet file, a directory, or hf://datasets/ORG/NAME[@REVISION]/FILE on the hub. Of a
directory every file that is text is read, source files among them, in subdirectories, too, but nothing hidden and no
node_modules. #COLUMN after a file or a directory says which column or field holds the text, or a conversation, which
the model's chat template turns into text. NAME=self is text that the
model writes by itself, where there are no texts. Fewer than five sets get such a one beside them, for what they leave
out, with gprune, no --plan, and a model whose layers take at most 4 GiB in float32; all are in memory meanwhile, with
keys and values of 24 windows. --own-text never does without.

Several calibration sets of different kinds are what keeps the model general. --calib takes every value that
follows it, so MODEL goes before it. The last line on stdout is the output directory.

Who loads the result is said before the run. Layers of their own widths (the default) are smaller at the same quality and
need trust_remote_code in transformers; --shape uniform with --recover none gives what stock classes build, with few exceptions:
the line "runs in" says it of a run.

With --max-memory what does not fit waits in files beside the output. The plan is printed first; a run that cannot stay
within it is refused with what would do.

--device webgpu and cuda compute on a graphics card, with the CPU in its place and a warning when it is not there. Numbers are
then the CPU's within rounding, not to the bit.

Until the output is there, what has been computed is kept in DIR.run. Ctrl-C stops where --resume can go on, a second one at
once; after a crash or a power failure --resume works too.

Examples:
  $ gprune prune MODEL -o OUT --sparsity 0.2 --calib web=web.txt code=src.jsonl:2 math=math/
  $ gprune prune MODEL -o OUT --calib books=hf://datasets/ORG/NAME/data/train.parquet#story:2 code=src.jsonl
  $ gprune prune MODEL -o OUT --calib own=self
  $ gprune prune MODEL -o OUT --shape uniform --round-to 64 --calib web=web.txt code=src.jsonl
  $ gprune prune MODEL -o OUT --method none --metric wanda-sp --calib web=web.txt
  $ gprune prune hf://ORG/NAME -o OUT --method none --metric magnitude --recover none
  $ gprune prune MODEL -o OUT2 --plan OUT/plan.json --recover none --dtype bf16
  $ gprune prune -o OUT3 --config OUT/gprune.yaml --seed 1
  $ gprune prune MODEL -o OUT --calib web=web.txt code=src.jsonl --redis redis://HOST --store /mnt/shared`),
  )
  .action(computing(async (model, options) => (await import("./prune.ts")).pruneCommand(model, options)));

export const sensitivityCommand: Command = new GpruneCommand("sensitivity")
  .summary("how much each unit's importance moves from calibration set to calibration set, without pruning")
  .description(
    "Measures how much each unit's importance moves from calibration set to calibration set, without pruning.",
  )
  .usage("MODEL --calib NAME=PATH... [options]")
  .argument("<model>", MODEL)
  .addOption(
    textSetsOption(
      "--calib <sets...>",
      "NAME=PATH each, at least two, as for gprune prune --calib",
    ).makeOptionMandatory(),
  )
  .option("--metric <name>", `importance metric: ${TEXT_METRICS}`, "flap-wifv")
  .addOption(countOption("--samples <n>", "windows of every set", { min: 1, default: 16 }))
  .addOption(seqLenOption(MIN_SEQ_LEN))
  .addOption(countOption("--seed <n>", "drives the choice of windows", { min: 0, default: 0 }))
  .option("--picture <file>", "heat map and histogram as .svg or .png")
  .addOptions(computingOptions())
  .addOptions(tellingOptions())
  .addHelpText(
    "after",
    "\nExample:\n  $ gprune sensitivity MODEL --calib web=web.txt code=code.txt wiki=wiki.txt --picture sigma.svg",
  )
  .action(
    computing(async (model, options) =>
      (await import("./sensitivity.ts")).sensitivityCommand(model, options),
    ),
  );

export const workerCommand: Command = new GpruneCommand("worker")
  .summary("compute units of work of distributed prunes, on this machine")
  .description(
    "Computes units of work of every `gprune prune` that has the same queue and store, until a signal comes. " +
      "Any number may run, on any number of machines; all need the same version of gprune and processors with the same " +
      "instruction sets, so that the output has the bytes of a run on one machine.",
  )
  .usage("--redis URL --store DIR [options]")
  .addOption(redisOption("where units wait").makeOptionMandatory())
  .addOption(storeOption().makeOptionMandatory())
  .option("--model <path>", "where the model lies on this machine (default: where the run has it)")
  .addOption(threadsOption())
  .addOption(countOption("--unit-limit <seconds>", "time that a unit may take (default: 21600)", { min: 1 }))
  .option("--json", "print a line of JSON on stdout for everything that happens")
  .addHelpText(
    "after",
    notes(`
Whoever can write to the queue's server or to the store decides what workers compute: keep both inside your network.

Examples:
  $ gprune worker --redis redis://HOST --store /mnt/shared
  $ gprune worker --redis redis://HOST --store /mnt/shared --model /models/MODEL --threads 8`),
  )
  .action(async (options) => (await import("./worker.ts")).workerCommand(options));

export const uiCommand: Command = new GpruneCommand("ui")
  .summary("a local page: runs, live progress, new runs, comparisons, reports")
  .description(
    "Serves a page on this machine that lists the runs below a directory, starts, shows, stops and resumes prunes, " +
      "compares runs and opens their reports. It listens on 127.0.0.1 only; the address it prints has a token in it.",
  )
  .usage("[DIR] [options]")
  .argument("[dir]", "directory of runs", ".")
  .addOption(countOption("--port <n>", "port to listen on; 0 is any that is free", { min: 0, default: 0 }))
  .addHelpText("after", "\nExample:\n  $ gprune ui runs --port 4747")
  .action(async (directory, options) => (await import("./ui.ts")).uiCommand(directory, options));

export const demoCommand: Command = new GpruneCommand("demo")
  .summary("the whole job on the embedded model, in about a minute")
  .description("Runs the whole job on the embedded model, which takes about a minute.")
  .usage("[options]")
  .option("-o, --output <dir>", "where the pruned demo models go (default: a new temporary directory)")
  .addOption(sparsityOption("", 0.4))
  .addOptions(deviceOptions())
  .addOptions(tellingOptions())
  .addHelpText("after", "\nExample:\n  $ gprune demo --sparsity 0.5 -o demo-out")
  .action(computing(async (options) => (await import("./demo.ts")).demoCommand(options)));

/** Names of the metrics, one line for each kind of input. */
function metricLines(): string {
  const sources = ["activations", "gradients", "weights"] as const;
  return pairs(
    sources.map((source) => {
      const names = METRICS.filter(({ input }) => input === source).map(({ name }) => name);
      return [`  ${source}`, names.join(", ")];
    }),
  );
}
