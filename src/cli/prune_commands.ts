/** Definitions of `gprune prune`, `sensitivity` and `demo`. */
import type { Command } from "commander";
import {
  ALLOCATION_NAMES,
  BIAS_CHOICES,
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
} from "./common.ts";
import { deviceOptions } from "./device_options.ts";
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
  .option("-o, --output <dir>", "output directory, new or empty")
  .addOption(sparsityOption("(default: 0.3)"))
  .optionsGroup("Method:")
  .addOption(
    choiceOption("--method <name>", "gprune, or none for the metric alone (default: gprune)", METHODS),
  )
  .option("--metric <name>", "importance metric, see below (default: flap-wifv)")
  .addOption(
    choiceOption(
      "--allocation <name>",
      "how layers share the budget (default: learned with gprune, else the metric's own); curves needs no gradients",
      ALLOCATION_NAMES,
    ),
  )
  .option("--refine", "refine learned widths by measuring alternatives on the refitted model (default)")
  .option("--no-refine", "keep learned widths; deciding then takes about two thirds of the time")
  .option("--robust", "give sets whose loss increases most a higher weight in learning")
  .addOption(
    choiceOption(
      "--recover <how>",
      "how to compensate for removed units (default: lstsq with gprune, else bias); distill trains after least squares",
      RECOVERIES,
    ),
  )
  .addOption(
    choiceOption(
      "--biases <when>",
      "whether least squares adds biases; auto: unless they alone would keep the result out of stock classes or llama.cpp (default: auto)",
      BIAS_CHOICES,
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
      "windows per set in each round (default: 2, or more with few sets: 10 in all)",
      { min: 1 },
    ),
  )
  .addOption(
    countOption(
      "--max-modules <n>",
      `most behaviour modules per space, up to ${MAX_MODULES}; 1 turns them off (default: 4)`,
      { min: 1, max: MAX_MODULES },
    ),
  )
  .option("--fallback <name>", "metric of modules with unreliable scores (default: magnitude)")
  .addOption(
    choiceOption("--shape <name>", "widths of each layer, or the same in all (default: per-layer)", SHAPES),
  )
  .addOption(
    countOption("--round-to <n>", "make changed FFN widths multiples of this (default: 1)", { min: 1 }),
  )
  .addOption(countOption("--seed <n>", "seed of every random choice (default: 0)", { min: 0 }))
  .option("--plan <file>", "apply this plan.json; excludes the options that decide")
  .option(
    "--config <file>",
    "YAML file with any of these settings; options override it, paths in it are relative to the current directory",
  )
  .optionsGroup("Calibration:")
  .addOption(textSetsOption("--calib <sets...>", "NAME=PATH[:WEIGHT] each, see below"))
  .addOption(
    countOption("--samples <n>", "windows per set (default: 16, or more with few sets: 80 in all)", {
      min: 1,
    }),
  )
  .addOption(
    countOption(
      "--refit-samples <n>",
      "windows per set for least squares (default: twice as many, at most 240 in all); if they need more than 8 MB of a text, the windows that decide change, too",
      {
        min: 1,
      },
    ),
  )
  .addOption(seqLenOption(MIN_SEQ_LEN))
  .addOption(
    choiceOption(
      "--own-text <when>",
      "whether to add a set of text that the model generates; auto: with fewer than five sets, see below (default: auto)",
      OWN_TEXT_CHOICES,
    ),
  )
  .optionsGroup("Output and running:")
  .addOption(dtypeOption("as in MODEL, bf16 for FP8, f32 for other quantised weights"))
  .option("--no-report", "do not write report.html")
  .addOptions(computingOptions())
  .addOption(sizeOption("--max-memory <size>", "memory limit, as 4GB or 512MiB; does not change the result"))
  .option("--dry-run", "check everything, print what the run would need and result in, and stop")
  .option("--resume", "continue an interrupted run; the result has the same bytes")
  .addOption(redisOption("let `gprune worker`s compute the passes over the texts; needs --store"))
  .addOption(storeOption())
  .addOptions(tellingOptions())
  .addHelpText(
    "after",
    notes(`
Metrics:
${metricLines()}

PATH is a text, JSON, JSON Lines or Parquet file, a directory, or hf://datasets/ORG/NAME[@REVISION]/FILE on the hub. All
text files of a directory and its subdirectories are read, source files included, except hidden ones and node_modules.
#COLUMN after a path names the column or field with the text, or with conversations, which the model's chat template
turns into text. NAME=self stands for text that the model generates. With fewer than five sets, --method gprune adds
one of this kind to cover what they leave out, unless there is a --plan, --own-text is never, or the model's layers take
more than 4 GiB in float32: meanwhile all of them are in memory, with keys and values of 24 windows.

Use several calibration sets of different kinds: they keep the model general. --calib takes every value that follows it,
so put MODEL before it. The last line on stdout is the output directory.

The programs that can load the result are printed before the run. Layers of different widths (the default) are smaller at
the same quality and need trust_remote_code in transformers; --shape uniform suits stock classes, with few exceptions: see
the lines "runs in" of a run.

With --max-memory, data that does not fit is kept in files beside the output. The memory plan is printed first; if the run
cannot stay within the limit, it is refused with a limit that suffices.

--device webgpu and cuda compute on a graphics card; without one, the CPU is used with a warning. The results equal the
CPU's within rounding, not bit by bit.

Progress is kept in DIR.run until the output is complete. Ctrl-C stops at the next point where --resume can continue, a
second one at once; --resume also works after a crash or a power failure.

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
  .action(computing(async (model, options) => (await import("./prune.ts")).pruneAction(model, options)));

export const sensitivityCommand: Command = new GpruneCommand("sensitivity")
  .summary("how much each unit's importance shifts between calibration sets, without pruning")
  .description("Measures how much each unit's importance shifts between calibration sets, without pruning.")
  .usage("MODEL --calib NAME=PATH... [options]")
  .argument("<model>", MODEL)
  .addOption(
    textSetsOption(
      "--calib <sets...>",
      "NAME=PATH each, at least two, as for gprune prune --calib",
    ).makeOptionMandatory(),
  )
  .option("--metric <name>", `importance metric: ${TEXT_METRICS}`, "flap-wifv")
  .addOption(countOption("--samples <n>", "windows per set", { min: 1, default: 16 }))
  .addOption(seqLenOption(MIN_SEQ_LEN))
  .addOption(countOption("--seed <n>", "seed of the choice of windows", { min: 0, default: 0 }))
  .option("--picture <file>", "heat map and histogram as .svg or .png")
  .addOptions(computingOptions())
  .addOptions(tellingOptions())
  .addHelpText(
    "after",
    "\nExample:\n  $ gprune sensitivity MODEL --calib web=web.txt code=code.txt wiki=wiki.txt --picture sigma.svg",
  )
  .action(
    computing(async (model, options) => (await import("./sensitivity.ts")).sensitivityAction(model, options)),
  );

export const demoCommand: Command = new GpruneCommand("demo")
  .summary("the whole job on the embedded model, in about a minute")
  .description("Runs the whole job on the embedded model, which takes about a minute.")
  .usage("[options]")
  .option("-o, --output <dir>", "directory for the pruned demo models (default: a new temporary directory)")
  .addOption(sparsityOption("", 0.4))
  .addOptions(deviceOptions())
  .addOptions(tellingOptions())
  .addHelpText("after", "\nExample:\n  $ gprune demo --sparsity 0.5 -o demo-out")
  .action(computing(async (options) => (await import("./demo.ts")).demoAction(options)));

/** A line for each metric, under a heading for each kind of input. */
function metricLines(): string {
  const inputs = ["activations", "gradients", "weights"] as const;
  const groups = inputs.map((source) => {
    const metrics = METRICS.filter(({ input }) => input === source);
    return `  from ${source}:\n${pairs(metrics.map(({ name, summary }) => [`    ${name}`, summary]))}`;
  });
  return groups.join("\n");
}
