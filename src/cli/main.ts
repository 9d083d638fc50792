#!/usr/bin/env node
/** The command line: which commands and options there are. Everything that computes is imported when it is needed. */
import { Command, CommanderError, Option } from "commander";
import { versions } from "../package.ts";
import { fail, handleExits, ignoreClosedPipes } from "./exit.ts";
import { choiceOption, countOption, numberOption, textSetsOption } from "./options.ts";
import { isComputeChild } from "./role.ts";

const MODEL = "Hugging Face directory, .gguf file, or hf://ORG/NAME[@REVISION][/FILE.gguf] on the hub";

const program = new Command("gprune")
  .description(
    "Makes transformer language models smaller so that they still work on data they did not calibrate on.",
  )
  .version(versions().gprune, "-V, --version", "print the version")
  .showSuggestionAfterError()
  .showHelpAfterError("`gprune --help` and `gprune COMMAND --help` show options and examples.")
  .exitOverride()
  .addHelpText(
    "after",
    `
Progress goes to stderr, results to stdout. Exit codes: 0 good, 1 the input was wrong, 2 a bug in gprune,
130 and 143 interrupted. An output directory appears complete or not at all; an interrupted prune can be resumed.

Models on the hub go into its usual cache; HF_HOME, HF_HUB_CACHE, HF_TOKEN, HF_ENDPOINT and HF_HUB_OFFLINE are respected.

Examples:
  $ gprune demo
  $ gprune prune MODEL -o SMALLER --sparsity 0.3 --calib web=web.txt code=code.jsonl
  $ gprune eval SMALLER --text news=news.txt --baseline MODEL
  $ gprune prune --help`,
  );

program
  .command("prune")
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
  .addOption(
    choiceOption("--method <name>", "gprune, or the metric alone (default: gprune)", ["gprune", "none"]),
  )
  .option("--metric <name>", "importance metric, see below (default: flap-wifv)")
  .addOption(
    choiceOption(
      "--allocation <name>",
      "how layers share the budget; learned with gprune, else the metric's own. curves needs no gradients",
      ["learned", "curves", "global", "uniform"],
    ),
  )
  .option("--robust", "when learning, let the sets that suffer most count more")
  .addOption(
    choiceOption(
      "--recover <how>",
      "how removed units are made up for: least squares with gprune, else biases; distill trains after least squares",
      ["none", "bias", "lstsq", "distill"],
    ),
  )
  .addOption(countOption("--steps <n>", "training steps of --recover distill (default: 300)", { min: 1 }))
  .addOption(countOption("--rounds <n>", "rounds of learned allocation (default: 8)", { min: 1 }))
  .addOption(
    countOption("--gradient-windows <n>", "windows of every set in each round (default: 2)", { min: 1 }),
  )
  .addOption(
    countOption(
      "--max-modules <n>",
      "most behaviour modules in one space; 1 switches them off (default: 4)",
      {
        min: 1,
      },
    ),
  )
  .option("--fallback <name>", "metric of modules with unreliable scores (default: magnitude)")
  .addOption(
    choiceOption("--shape <name>", "widths: every layer its own, or the same in all (default: per-layer)", [
      "per-layer",
      "uniform",
    ]),
  )
  .addOption(countOption("--round-to <n>", "FFN widths become multiples of this (default: 1)", { min: 1 }))
  .addOption(countOption("--seed <n>", "drives every random choice (default: 0)", { min: 0 }))
  .option("--plan <file>", "carry out a plan.json instead of deciding anew")
  .option("--config <file>", "YAML file with any of these settings; options override it")
  .optionsGroup("Calibration:")
  .addOption(textSetsOption("--calib <sets...>", "NAME=PATH[:WEIGHT] each, see below"))
  .addOption(countOption("--samples <n>", "windows of every set (default: 16)", { min: 1 }))
  .addOption(countOption("--seq-len <n>", "tokens in a window (default: 512)", { min: 8 }))
  .optionsGroup("Output and running:")
  .addOption(dtypeOption())
  .option("--no-report", "write no report.html")
  .addOption(threadsOption())
  .option("--resume", "go on with a run that was interrupted, with the same bytes in the end")
  .addOption(jsonOption())
  .addOption(quietOption())
  .addHelpText(
    "after",
    `
Metrics:
  flap-wifv, flap-ifv, flap-wifn, wanda-sp, minitron   from activations on the calibration sets
  fisher, taylor                                       from gradients on the calibration sets
  magnitude, pon, maw, random                          from the weights alone

PATH is a text, JSON, JSON Lines or Parquet file, a directory of such, or hf://datasets/ORG/NAME[@REVISION]/FILE on the
hub. #COLUMN after a file says which column or field holds the text.

Several calibration sets of different kinds are what keeps the model general. --calib takes every value that
follows it, so MODEL goes before it. The last line on stdout is the output directory.

Who loads the result is said before the run. Layers of their own widths (the default) are smaller at the same quality and
need trust_remote_code in transformers; --shape uniform gives what stock classes and vLLM build.

Until the output is there, what has been computed is kept in DIR.run. Ctrl-C stops where --resume can go on, a second one at
once; after a crash or a power failure --resume works too.

Examples:
  $ gprune prune MODEL -o OUT --sparsity 0.2 --calib web=web.txt code=src.jsonl:2 math=math/
  $ gprune prune MODEL -o OUT --calib books=hf://datasets/ORG/NAME/data/train.parquet#story:2 code=src.jsonl
  $ gprune prune MODEL -o OUT --shape uniform --round-to 64 --calib web=web.txt code=src.jsonl
  $ gprune prune MODEL -o OUT --method none --metric wanda-sp --calib web=web.txt
  $ gprune prune hf://ORG/NAME -o OUT --method none --metric magnitude --recover none
  $ gprune prune MODEL -o OUT2 --plan OUT/plan.json --recover none --dtype bf16
  $ gprune prune -o OUT3 --config OUT/gprune.yaml --seed 1`,
  )
  .action(computing(async (model, options) => (await import("./prune.ts")).pruneCommand(model, options)));

program
  .command("eval")
  .description("perplexity of a model on texts, and accuracy on tasks")
  .usage("MODEL [--text NAME=PATH...] [--tasks NAME=PATH...] [options]")
  .argument("<model>", MODEL)
  .addOption(textSetsOption("--text <texts...>", "NAME=PATH each, as for gprune prune --calib"))
  .addOption(
    textSetsOption(
      "--tasks <tasks...>",
      "NAME=PATH each: JSON Lines, JSON, Parquet or YAML file, or hf://datasets/ORG/NAME/FILE; formats below",
    ),
  )
  .addOption(
    countOption("--num-fewshot <n>", "solved questions before each question of a task", {
      min: 0,
      default: 0,
    }),
  )
  .addOption(
    textSetsOption(
      "--fewshot <tasks...>",
      "NAME=PATH each: where a task's solved questions come from, not its own",
    ),
  )
  .addOption(countOption("--seed <n>", "draws the solved questions", { min: 0, default: 0 }))
  .addOption(countOption("--seq-len <n>", "tokens in a window", { min: 2, default: 512 }))
  .addOption(
    countOption("--limit <n>", "at most this many windows of each text and documents of each task", {
      min: 1,
    }),
  )
  .option("--baseline <model>", "second model to be shown beside it, and how far the first is from it")
  .option("--save", "leave the result in MODEL, an output of gprune prune, and add it to its report")
  .addOption(threadsOption())
  .addOption(jsonOption())
  .addOption(quietOption())
  .addHelpText(
    "after",
    `
Perplexity is over consecutive windows that do not overlap; the last partial one is dropped. acc is the share of
documents whose right answer is the most probable one, acc_norm the same with log-probabilities divided by the answers'
lengths in characters, both as in lm-evaluation-harness and with their standard errors.

Tasks may be in the published layouts of arc_easy, arc_challenge, boolq, hellaswag, lambada, openbook_qa, piqa and
winogrande, with the harness's prompts; have records {query, choices, gold} or {contexts, continuation, gold}; or be a YAML
file as the harness has them, with Jinja templates (doc_to_text, doc_to_choice, doc_to_target).
Against a baseline of the same vocabulary and layers: KL(baseline || model) in nats per token, how often both put the
same token first, and the relative error of the hidden states after the last layer (of all layers in --json).

Examples:
  $ gprune eval MODEL --text news=news.txt code=code.jsonl
  $ gprune eval PRUNED --text news=news.txt --baseline MODEL --limit 24 --json
  $ gprune eval PRUNED --tasks piqa=piqa.jsonl arc_easy=arc_easy.jsonl --limit 200 --baseline MODEL
  $ gprune eval PRUNED --tasks arc=hf://datasets/allenai/ai2_arc/ARC-Easy/test-00000-of-00001.parquet --num-fewshot 5
  $ gprune eval OUT --text news=news.txt --baseline MODEL --save`,
  )
  .action(computing(async (model, options) => (await import("./eval.ts")).evalCommand(model, options)));

program
  .command("compare")
  .summary("several models in one table; the first is what the others are compared with")
  .description("Compares parameters, size and widths of models, and with --text and --tasks how they do.")
  .usage("A B [C...] [--text NAME=PATH...] [--tasks NAME=PATH...] [options]")
  .argument("<a>", MODEL)
  .argument("<b>", "another model")
  .argument("[others...]", "further models")
  .addOption(textSetsOption("--text <texts...>", "NAME=PATH each, as for gprune eval"))
  .addOption(textSetsOption("--tasks <tasks...>", "NAME=PATH each, as for gprune eval"))
  .addOption(countOption("--seq-len <n>", "tokens in a window", { min: 2, default: 512 }))
  .addOption(
    countOption("--limit <n>", "at most this many windows of each text and documents of each task", {
      min: 1,
    }),
  )
  .addOption(threadsOption())
  .addOption(jsonOption())
  .addOption(quietOption())
  .addHelpText(
    "after",
    "\nExample:\n  $ gprune compare MODEL OUT1 OUT2 --text news=news.txt --limit 24 > table.md",
  )
  .action(
    computing(async (a, b, others, options) =>
      (await import("./compare.ts")).compareCommand([a, b, others], options),
    ),
  );

program
  .command("report")
  .summary("make the report of a run, or compare several runs")
  .description(
    "Makes report.html of an output of gprune prune again, with what gprune eval --save has added; with several outputs, " +
      "one page that compares them.",
  )
  .usage("RUN... [options]")
  .argument("<runs...>", "directories that gprune prune wrote")
  .option("-o, --output <file>", "HTML file, in place of one that may be there (default: RUN/report.html)")
  .option("--pictures <dir>", "also write every figure as SVG and PNG there")
  .addHelpText(
    "after",
    "\nExamples:\n  $ gprune report OUT --pictures figures\n  $ gprune report OUT1 OUT2 -o comparison.html",
  )
  .action(async (runs, options) => (await import("./report.ts")).reportCommand(runs, options));

program
  .command("export")
  .description("write a model in another format or dtype")
  .usage("MODEL -o OUT [options]")
  .argument("<model>", MODEL)
  .requiredOption("-o, --output <path>", "directory to be made, or a file named *.gguf")
  .addOption(
    choiceOption("--format <name>", "format of the output (default: gguf for *.gguf, else hf)", [
      "hf",
      "gguf",
      "onnx",
    ]),
  )
  .addOption(
    choiceOption("--dtype <name>", "dtype of the output (default: auto)", [
      "auto",
      "f32",
      "f16",
      "bf16",
      "q8_0",
      "q4_0",
      "q4_k",
      "q6_k",
      "int8",
      "int4",
    ]),
  )
  .option(
    "--pre <name>",
    "gguf: llama.cpp's name for the tokenizer's cut into words, when it is not recognised",
  )
  .addOption(quietOption())
  .addHelpText(
    "after",
    `
auto keeps the dtype of a float checkpoint and writes a quantised one as f32; ONNX files of bf16 checkpoints are f32.
hf is a Hugging Face directory (f32, f16, bf16); gguf a file for llama.cpp (f32, f16, bf16 and the q types; rows that do not
fill their blocks are stored as Q8_0 or F16, and a warning counts them); onnx a directory for transformers.js and ONNX
Runtime: one decoder with a key/value cache (f32, f16; int8 and int4 keep activations in f32).

Examples:
  $ gprune export model.Q4_1.gguf -o model-hf
  $ gprune export model.Q4_1.gguf -o model-bf16 --dtype bf16
  $ gprune export PRUNED -o pruned.gguf --dtype q8_0
  $ gprune export PRUNED -o model-onnx --format onnx --dtype int4`,
  )
  .action(computing(async (model, options) => (await import("./export.ts")).exportCommand(model, options)));

program
  .command("inspect")
  .description("parameters, widths and shapes of a model")
  .usage("MODEL [options]")
  .argument("<model>", MODEL)
  .addOption(jsonOption())
  .addHelpText("after", "\nExample:\n  $ gprune inspect PRUNED --json")
  .action(async (model, options) => (await import("./inspect.ts")).inspectCommand(model, options));

program
  .command("sensitivity")
  .description(
    "how much each unit's importance moves from calibration set to calibration set, without pruning",
  )
  .usage("MODEL --calib NAME=PATH... [options]")
  .argument("<model>", MODEL)
  .addOption(
    textSetsOption(
      "--calib <sets...>",
      "NAME=PATH each, at least two, as for gprune prune --calib",
    ).makeOptionMandatory(),
  )
  .option("--metric <name>", "importance metric", "flap-wifv")
  .addOption(countOption("--samples <n>", "windows of every set", { min: 1, default: 16 }))
  .addOption(countOption("--seq-len <n>", "tokens in a window", { min: 8, default: 512 }))
  .addOption(countOption("--seed <n>", "drives the choice of windows", { min: 0, default: 0 }))
  .option("--picture <file>", "heat map and histogram as .svg or .png")
  .addOption(threadsOption())
  .addOption(jsonOption())
  .addOption(quietOption())
  .addHelpText(
    "after",
    "\nExample:\n  $ gprune sensitivity MODEL --calib web=web.txt code=code.txt wiki=wiki.txt --picture sigma.svg",
  )
  .action(
    computing(async (model, options) =>
      (await import("./sensitivity.ts")).sensitivityCommand(model, options),
    ),
  );

program
  .command("generate")
  .description("continue a prompt, the most probable token each time; or write texts to calibrate on")
  .usage("MODEL --prompt TEXT [options]\n       gprune generate MODEL --sample [-o FILE] [options]")
  .argument("<model>", MODEL)
  .option("--prompt <text>", "text to continue")
  .addOption(
    countOption("--max-tokens <n>", "tokens to generate at most, 32; of every sample, 512", { min: 1 }),
  )
  .option("--sample", "texts drawn from what the model knows, as JSON Lines")
  .addOption(countOption("--count <n>", "windows of --max-tokens tokens to sample", { min: 1, default: 16 }))
  .addOption(numberOption("--temperature <t>", "of sampling", { min: 0.01, default: 1 }))
  .addOption(
    numberOption("--top-p <p>", "draw from the most probable tokens that together have this probability", {
      min: 0.01,
      below: 1 + Number.EPSILON,
      default: 1,
    }),
  )
  .addOption(countOption("--seed <n>", "draws the samples", { min: 0, default: 0 }))
  .option("-o, --output <file>", "file for the samples, to be made; the standard output when absent")
  .addOption(threadsOption())
  .addOption(quietOption())
  .addHelpText(
    "after",
    `
Examples:
  $ gprune generate PRUNED --prompt "Once upon a time" --max-tokens 64
  $ gprune generate MODEL --sample --count 64 -o own.jsonl && gprune prune MODEL -o SMALLER --calib own=own.jsonl`,
  )
  .action(
    computing(async (model, options) => (await import("./generate.ts")).generateCommand(model, options)),
  );

program
  .command("push")
  .description("upload the output of prune or export to the hub")
  .usage("DIR ORG/NAME [options]")
  .argument("<dir>", "directory that gprune wrote")
  .argument("<repo>", "ORG/NAME on the hub; made when there is none")
  .option("--private", "make it private; one that exists must be")
  .option("--revision <branch>", "branch to commit to, made when there is none (default: main)")
  .addOption(jsonOption())
  .addOption(quietOption())
  .addHelpText(
    "after",
    `
Uploads every file but hidden ones in one commit and prints the address. HF_TOKEN must be allowed to write.

Example:
  $ gprune push OUT my-org/my-model --private`,
  )
  .action(async (dir, repo, options) => (await import("./push.ts")).pushCommand(dir, repo, options));

program
  .command("demo")
  .description("the whole job on the embedded model, in about a minute")
  .usage("[options]")
  .option("-o, --output <dir>", "where the pruned demo models go (default: a new temporary directory)")
  .addOption(sparsityOption("", 0.4))
  .addOption(quietOption())
  .addHelpText("after", "\nExample:\n  $ gprune demo --sparsity 0.5 -o demo-out")
  .action(computing(async (options) => (await import("./demo.ts")).demoCommand(options)));

/** A command whose work is done by a child of this process, which is this process when it is the child. */
function computing<A extends unknown[]>(
  action: (...given: A) => Promise<void>,
): (...given: A) => Promise<void> {
  return async (...given) => {
    if (!isComputeChild()) return (await import("./compute_parent.ts")).computeInChild();
    return (await import("./compute_child.ts")).computeForParent(() => action(...given));
  };
}

function sparsityOption(note: string, preset?: number): Option {
  const description = `fraction of the attention and FFN parameters to remove ${note}`.trimEnd();
  const range = { min: 0, below: 1, hint: "Give a fraction: 0.3 removes 30 %." };
  return numberOption("-s, --sparsity <fraction>", description, {
    ...range,
    ...(preset !== undefined && { default: preset }),
  });
}

function dtypeOption(further: readonly string[] = []): Option {
  return choiceOption("--dtype <name>", "dtype of the output (default: auto)", [
    "auto",
    "f32",
    "f16",
    "bf16",
    ...further,
  ]);
}

function threadsOption(): Option {
  return countOption("--threads <n>", "threads of one operator (default: one for each core)", { min: 1 });
}

function jsonOption(): Option {
  return new Option("--json", "print one JSON document on stdout and nothing else");
}

function quietOption(): Option {
  return new Option("-q, --quiet", "no progress");
}

ignoreClosedPipes();
if (!isComputeChild()) handleExits();
try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode;
  else fail(error);
}
