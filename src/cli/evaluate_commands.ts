/** Definitions of the commands that evaluate or show models, and of `gprune generate`. */
import { type Command, Option } from "commander";
import {
  computing,
  computingOptions,
  GpruneCommand,
  jsonOption,
  MODEL,
  notes,
  resumeOption,
  seqLenOption,
  tellingOptions,
} from "./common.ts";
import { countOption, numberOption, textSetsOption } from "./options.ts";

/** Options that name texts and tasks. @param formats - where formats of tasks are listed, for the help text */
function materialOptions(formats: string): readonly Option[] {
  return [
    textSetsOption("--text <texts...>", "NAME=PATH each, as for gprune prune --calib"),
    textSetsOption(
      "--tasks <tasks...>",
      `NAME=PATH each: JSON Lines, JSON, Parquet or YAML file, or hf://datasets/ORG/NAME/FILE; formats ${formats}`,
    ),
    countOption(
      "--num-fewshot <n>",
      "few-shot examples before each question of a task (default: what a YAML file says, or 0)",
      { min: 0 },
    ),
    textSetsOption(
      "--fewshot <tasks...>",
      "NAME=PATH each: file with the few-shot examples of a task, in place of its own",
    ),
    new Option("--chat", "ask the questions of tasks as chat messages, with the model's chat template"),
    new Option("--system <text>", "with --chat: system message before the questions"),
    countOption("--seed <n>", "seed of the choice of few-shot examples", { min: 0, default: 0 }),
    seqLenOption(2),
    new Option("--bos", "begin every window with BOS, which Gemma and a few others need"),
    countOption(
      "--limit <n>",
      "use at most the first n windows of each text (of a directory evenly spaced ones) and documents of each task",
      { min: 1 },
    ),
  ];
}

export const evalCommand: Command = new GpruneCommand("eval")
  .summary("perplexity of a model on texts, and accuracy on tasks")
  .description(
    "Measures perplexity on texts, accuracy on tasks, or both, of one model or of a model and a baseline.",
  )
  .usage("MODEL [--text NAME=PATH...] [--tasks NAME=PATH...] [options]")
  .argument("<model>", MODEL)
  .addOptions(materialOptions("below"))
  .option("--baseline <model>", "second model to show beside it, with the distance between the two")
  .option("--save", "save the result in MODEL, an output of gprune prune, and add it to its report")
  .addOption(resumeOption())
  .addOptions(computingOptions())
  .addOptions(tellingOptions())
  .addHelpText(
    "after",
    notes(`
Perplexity is measured on consecutive windows without overlap; the last partial window is dropped. acc is the share of
documents whose right answer is the most probable one, acc_norm the same with log-probabilities divided by the answers'
lengths in characters, both as in lm-evaluation-harness and with standard errors.

Tasks may be in the published layouts of arc_easy, arc_challenge, boolq, hellaswag, lambada, openbook_qa, piqa and
winogrande, with the harness's prompts; have records {query, choices, gold} or {contexts, continuation, gold}; or be a
YAML file of the harness with Jinja templates (doc_to_text, doc_to_choice, doc_to_target).

A baseline with the same vocabulary and layers adds KL(baseline || model) in nats per token, how often both rank the same
token first, and the relative error of the hidden states after the last layer (of all layers in --json). --json also
contains the settings of every measurement.

With --resume DIR, repeating a command that was cut off by Ctrl-C, a crash or a power failure continues after the last
finished text or task. Results that depend on a changed model, text or setting are computed again. Remove DIR at the end.

--save keeps earlier results that fit the new ones: texts measured with the same --baseline, --seq-len, --limit and --bos,
tasks measured with the same --baseline, --limit, solved questions, --chat and --system. Others move to files of their
own, evaluation.1.json and so on, which the report does not show.

Examples:
  $ gprune eval MODEL --text news=news.txt code=code.jsonl
  $ gprune eval PRUNED --text news=news.txt --baseline MODEL --limit 24 --json
  $ gprune eval PRUNED --tasks piqa=piqa.jsonl arc_easy=arc_easy.jsonl --limit 200 --baseline MODEL
  $ gprune eval PRUNED --tasks arc=hf://datasets/allenai/ai2_arc/ARC-Easy/test-00000-of-00001.parquet --num-fewshot 5
  $ gprune eval PRUNED --tasks arc_easy=arc_easy.jsonl --chat --num-fewshot 5 --baseline MODEL
  $ gprune eval OUT --text news=news.txt --baseline MODEL --save
  $ gprune eval MODEL --text news=news.txt wiki=wiki.txt --tasks piqa=piqa.jsonl --resume scores`),
  )
  .action(computing(async (model, options) => (await import("./eval.ts")).evalAction(model, options)));

export const compareCommand: Command = new GpruneCommand("compare")
  .summary("several models in one table, compared with the first")
  .description("Compares parameters, size and widths of models, and with --text and --tasks their quality.")
  .usage("A B [C...] [--text NAME=PATH...] [--tasks NAME=PATH...] [options]")
  .argument("<a>", MODEL)
  .argument("<b>", "another model")
  .argument("[others...]", "further models")
  .addOptions(materialOptions("in gprune eval --help"))
  .addOption(resumeOption())
  .option("--speed", "also compare speed and memory in this runtime")
  .addOption(countOption("--batch <n>", "with --speed: sequences in a batch (default: 1)", { min: 1 }))
  .addOption(
    countOption("--prompt-tokens <n>", "with --speed: tokens of a prompt (default: 128)", { min: 1 }),
  )
  .addOption(countOption("--new-tokens <n>", "with --speed: tokens to generate (default: 32)", { min: 1 }))
  .addOption(countOption("--repeats <n>", "with --speed: measured rounds (default: 5)", { min: 1 }))
  .addOptions(computingOptions())
  .addOptions(tellingOptions())
  .addHelpText(
    "after",
    notes(`
With --speed, models take turns. A cell shows the median and the range over the rounds, and the speed relative to the
first model: the median of the ratios within rounds, which may differ from the ratio of the medians. Peak memory is that
of a separate process for each model, Node and ONNX Runtime included. Weights are float32 there, even those of quantised
files, which gprune generate multiplies as integers.

Examples:
  $ gprune compare MODEL OUT1 OUT2 --text news=news.txt --limit 24 > table.md
  $ gprune compare MODEL OUT --speed --prompt-tokens 256 --repeats 9`),
  )
  .action(
    computing(async (a, b, others, options) =>
      (await import("./compare.ts")).compareAction([a, b, others], options),
    ),
  );

export const reportCommand: Command = new GpruneCommand("report")
  .summary("make the report of a run, or compare several runs")
  .description(
    "Rebuilds report.html of an output of gprune prune, with the results of gprune eval --save; for several outputs, makes " +
      "one page that compares them.",
  )
  .usage("RUN... [options]")
  .argument("<runs...>", "directories that gprune prune wrote")
  .option("-o, --output <file>", "file named *.html, replaced if it exists (default: RUN/report.html)")
  .option("--pictures <dir>", "also write every figure to this directory as SVG and PNG")
  .addOption(jsonOption())
  .addHelpText(
    "after",
    "\nExamples:\n  $ gprune report OUT --pictures figures\n  $ gprune report OUT1 OUT2 -o comparison.html",
  )
  .action(async (runs, options) => (await import("./report.ts")).reportAction(runs, options));

export const inspectCommand: Command = new GpruneCommand("inspect")
  .summary("parameters, widths and shapes of a model")
  .description("Shows parameters, size, widths and shapes of a model, and which programs load it.")
  .usage("MODEL [options]")
  .argument("<model>", MODEL)
  .addOption(jsonOption())
  .addHelpText("after", "\nExample:\n  $ gprune inspect PRUNED --json")
  .action(async (model, options) => (await import("./inspect.ts")).inspectAction(model, options));

export const generateCommand: Command = new GpruneCommand("generate")
  .summary("continue a prompt greedily, or write texts to calibrate on")
  .description("Continues or answers a prompt greedily, or writes texts to calibrate on.")
  .usage("MODEL --prompt TEXT [--chat] [options]\n       gprune generate MODEL --sample [-o FILE] [options]")
  .argument("<model>", MODEL)
  .option("--prompt <text>", "text to continue; - reads it from the standard input")
  .option("--chat", "answer the prompt as a chat message, with the model's chat template")
  .option("--system <text>", "with --chat: system message before it")
  .addOption(
    countOption(
      "--max-tokens <n>",
      "most tokens to generate (default: 32; with --chat 256; with --sample 512 each)",
      {
        min: 1,
      },
    ),
  )
  .option("--sample", "sample texts from the model, as JSON Lines")
  .addOption(countOption("--count <n>", "windows of --max-tokens tokens to sample (default: 16)", { min: 1 }))
  .addOption(numberOption("--temperature <t>", "sampling temperature (default: 1)", { min: 0.01 }))
  .addOption(
    numberOption(
      "--top-p <p>",
      "sample from the most probable tokens that together have this probability (default: 1)",
      { min: 0.01, max: 1 },
    ),
  )
  .addOption(countOption("--seed <n>", "seed of the samples (default: 0)", { min: 0 }))
  .option("-o, --output <file>", "with --sample: output file, which must not exist (default: stdout)")
  .addOptions(computingOptions())
  .addOptions(tellingOptions())
  .addHelpText(
    "after",
    notes(`
A final newline of a prompt from the standard input is dropped.

Examples:
  $ gprune generate PRUNED --prompt "Once upon a time" --max-tokens 64
  $ gprune generate PRUNED --prompt - < prompt.txt
  $ gprune generate MODEL --sample --count 64 -o own.jsonl && gprune prune MODEL -o SMALLER --calib own=own.jsonl`),
  )
  .action(
    computing(async (model, options) => (await import("./generate.ts")).generateAction(model, options)),
  );
