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
      "solved questions before each question of a task (default: what a YAML file says, or 0)",
      { min: 0 },
    ),
    textSetsOption(
      "--fewshot <tasks...>",
      "NAME=PATH each: where a task's solved questions come from, not its own",
    ),
    new Option("--chat", "put the questions of tasks as messages, by the model's chat template"),
    new Option("--system <text>", "with --chat: what a system message says before them"),
    countOption("--seed <n>", "draws the solved questions", { min: 0, default: 0 }),
    seqLenOption(2),
    new Option("--bos", "begin every window with BOS, without which Gemma and a few others can do little"),
    countOption(
      "--limit <n>",
      "at most so many windows of each text, the first ones, of a directory from all over it, and documents of each task",
      { min: 1 },
    ),
  ];
}

export const evalCommand: Command = new GpruneCommand("eval")
  .summary("perplexity of a model on texts, and accuracy on tasks")
  .description(
    "Measures perplexity on texts, accuracy on tasks, or both, of a model alone or beside a baseline.",
  )
  .usage("MODEL [--text NAME=PATH...] [--tasks NAME=PATH...] [options]")
  .argument("<model>", MODEL)
  .addOptions(materialOptions("below"))
  .option("--baseline <model>", "second model to be shown beside it, and how far the first is from it")
  .option("--save", "leave the result in MODEL, an output of gprune prune, and add it to its report")
  .addOption(resumeOption())
  .addOptions(computingOptions())
  .addOptions(tellingOptions())
  .addHelpText(
    "after",
    notes(`
Perplexity is over consecutive windows that do not overlap; the last partial one is dropped. acc is the share of
documents whose right answer is the most probable one, acc_norm the same with log-probabilities divided by the answers'
lengths in characters, both as in lm-evaluation-harness and with their standard errors.

Tasks may be in the published layouts of arc_easy, arc_challenge, boolq, hellaswag, lambada, openbook_qa, piqa and
winogrande, with the harness's prompts; have records {query, choices, gold} or {contexts, continuation, gold}; or be a YAML
file as the harness has them, with Jinja templates (doc_to_text, doc_to_choice, doc_to_target).

Against a baseline of the same vocabulary and layers: KL(baseline || model) in nats per token, how often both put the
same token first, and the relative error of the hidden states after the last layer (of all layers in --json). --json also
has how everything was measured, as settings.

With --resume DIR a command that was cut off by Ctrl-C, a crash or a power failure goes on when it is repeated, after the last
text or task that was finished. What depends on a changed model, text or setting is computed anew. Remove DIR in the end.

--save keeps what earlier ones saved: texts measured with the same --baseline, --seq-len, --limit and --bos, tasks measured with
the same --baseline, --limit, solved questions, --chat and --system. What does not go with the new result moves to a file
of its own, evaluation.1.json and so on, which the report does not show.

Examples:
  $ gprune eval MODEL --text news=news.txt code=code.jsonl
  $ gprune eval PRUNED --text news=news.txt --baseline MODEL --limit 24 --json
  $ gprune eval PRUNED --tasks piqa=piqa.jsonl arc_easy=arc_easy.jsonl --limit 200 --baseline MODEL
  $ gprune eval PRUNED --tasks arc=hf://datasets/allenai/ai2_arc/ARC-Easy/test-00000-of-00001.parquet --num-fewshot 5
  $ gprune eval PRUNED --tasks arc_easy=arc_easy.jsonl --chat --num-fewshot 5 --baseline MODEL
  $ gprune eval OUT --text news=news.txt --baseline MODEL --save
  $ gprune eval MODEL --text news=news.txt wiki=wiki.txt --tasks piqa=piqa.jsonl --resume scores`),
  )
  .action(computing(async (model, options) => (await import("./eval.ts")).evalCommand(model, options)));

export const compareCommand: Command = new GpruneCommand("compare")
  .summary("several models in one table; the first is what the others are compared with")
  .description("Compares parameters, size and widths of models, and with --text and --tasks how they do.")
  .usage("A B [C...] [--text NAME=PATH...] [--tasks NAME=PATH...] [options]")
  .argument("<a>", MODEL)
  .argument("<b>", "another model")
  .argument("[others...]", "further models")
  .addOptions(materialOptions("in gprune eval --help"))
  .addOption(resumeOption())
  .option("--speed", "also how fast they answer with this runtime, and in how much memory")
  .addOption(countOption("--batch <n>", "with --speed: sequences at once (default: 1)", { min: 1 }))
  .addOption(
    countOption("--prompt-tokens <n>", "with --speed: tokens of a prompt (default: 128)", { min: 1 }),
  )
  .addOption(countOption("--new-tokens <n>", "with --speed: tokens to go on with (default: 32)", { min: 1 }))
  .addOption(countOption("--repeats <n>", "with --speed: rounds that count (default: 5)", { min: 1 }))
  .addOptions(computingOptions())
  .addOptions(tellingOptions())
  .addHelpText(
    "after",
    notes(`
With --speed models take turns, and a cell has the median and the range of the rounds, and how many times as fast as the
first model it is: the median over rounds of the ratio within a round, which need not be that of the medians. Peak memory is that of a process of its own for each model, Node and ONNX Runtime included. Weights are
float32 for that, also of quantised files, whose integers gprune generate multiplies by.

Examples:
  $ gprune compare MODEL OUT1 OUT2 --text news=news.txt --limit 24 > table.md
  $ gprune compare MODEL OUT --speed --prompt-tokens 256 --repeats 9`),
  )
  .action(
    computing(async (a, b, others, options) =>
      (await import("./compare.ts")).compareCommand([a, b, others], options),
    ),
  );

export const reportCommand: Command = new GpruneCommand("report")
  .summary("make the report of a run, or compare several runs")
  .description(
    "Makes report.html of an output of gprune prune again, with what gprune eval --save has added; with several outputs, " +
      "one page that compares them.",
  )
  .usage("RUN... [options]")
  .argument("<runs...>", "directories that gprune prune wrote")
  .option(
    "-o, --output <file>",
    "file named *.html, in place of one that may be there (default: RUN/report.html)",
  )
  .option("--pictures <dir>", "also write every figure as SVG and PNG there")
  .addOption(jsonOption())
  .addHelpText(
    "after",
    "\nExamples:\n  $ gprune report OUT --pictures figures\n  $ gprune report OUT1 OUT2 -o comparison.html",
  )
  .action(async (runs, options) => (await import("./report.ts")).reportCommand(runs, options));

export const inspectCommand: Command = new GpruneCommand("inspect")
  .summary("parameters, widths and shapes of a model")
  .description("Shows parameters, size, widths and shapes of a model, and which programs load it.")
  .usage("MODEL [options]")
  .argument("<model>", MODEL)
  .addOption(jsonOption())
  .addHelpText("after", "\nExample:\n  $ gprune inspect PRUNED --json")
  .action(async (model, options) => (await import("./inspect.ts")).inspectCommand(model, options));

export const generateCommand: Command = new GpruneCommand("generate")
  .summary("continue a prompt, the most probable token each time; or write texts to calibrate on")
  .description(
    "Continues a prompt or answers it, the most probable token each time; or writes texts to calibrate on.",
  )
  .usage("MODEL --prompt TEXT [--chat] [options]\n       gprune generate MODEL --sample [-o FILE] [options]")
  .argument("<model>", MODEL)
  .option("--prompt <text>", "text to continue; - reads it from the standard input")
  .option("--chat", "answer the prompt as a message, by the model's chat template")
  .option("--system <text>", "with --chat: what a system message says before it")
  .addOption(
    countOption("--max-tokens <n>", "tokens to generate at most, 32; with --chat 256; of every sample 512", {
      min: 1,
    }),
  )
  .option("--sample", "texts drawn from what the model knows, as JSON Lines")
  .addOption(countOption("--count <n>", "windows of --max-tokens tokens to sample (default: 16)", { min: 1 }))
  .addOption(numberOption("--temperature <t>", "of sampling (default: 1)", { min: 0.01 }))
  .addOption(
    numberOption(
      "--top-p <p>",
      "draw from the most probable tokens that together have this probability (default: 1)",
      { min: 0.01, max: 1 },
    ),
  )
  .addOption(countOption("--seed <n>", "draws the samples (default: 0)", { min: 0 }))
  .option("-o, --output <file>", "with --sample: file to be made; the standard output when absent")
  .addOptions(computingOptions())
  .addOptions(tellingOptions())
  .addHelpText(
    "after",
    notes(`
The last line end of a prompt from the standard input is not part of it.

Examples:
  $ gprune generate PRUNED --prompt "Once upon a time" --max-tokens 64
  $ gprune generate PRUNED --prompt - < prompt.txt
  $ gprune generate MODEL --sample --count 64 -o own.jsonl && gprune prune MODEL -o SMALLER --calib own=own.jsonl`),
  )
  .action(
    computing(async (model, options) => (await import("./generate.ts")).generateCommand(model, options)),
  );
