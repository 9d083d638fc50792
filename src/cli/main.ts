#!/usr/bin/env node
/** The command line: which commands and options there are. Everything that computes is imported when it is needed. */
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { fail, handleSignals } from "./exit.ts";

const program = new Command("gprune")
  .description(
    "Makes transformer language models smaller so that they still work on data they did not calibrate on.",
  )
  .showSuggestionAfterError()
  .exitOverride();

program
  .command("prune")
  .description("remove FFN neurons and attention KV groups, and save the smaller model")
  .argument("[model]", "Hugging Face directory or .gguf file")
  .option("-o, --output <dir>", "directory to be made")
  .option("-s, --sparsity <fraction>", "fraction of the attention and FFN parameters to remove", number)
  .addOption(new Option("--method <name>", "gprune, or the metric alone").choices(["gprune", "none"]))
  .option("--metric <name>", "importance metric: flap-wifv, wanda-sp, magnitude, ...")
  .addOption(
    new Option("--allocation <name>", "how layers share the budget").choices([
      "learned",
      "global",
      "uniform",
    ]),
  )
  .option("--calib <sets...>", "calibration sets NAME=PATH[:WEIGHT]: text, JSON Lines or directories of such")
  .option("--samples <n>", "windows of every set", number)
  .option("--seq-len <n>", "tokens in a window", number)
  .option("--seed <n>", "drives every random choice", number)
  .addOption(
    new Option("--recover <how>", "how removed units are made up for").choices(["none", "bias", "lstsq"]),
  )
  .option("--rounds <n>", "rounds of learned allocation", number)
  .option("--gradient-windows <n>", "windows of every set for gradients, in each round", number)
  .option("--max-modules <n>", "most behaviour modules in one space; 1 switches them off", number)
  .option("--fallback <name>", "metric of modules whose activation scores do not hold: magnitude, pon, maw")
  .option("--round-to <n>", "FFN widths become multiples of this", number)
  .addOption(dtypeOption())
  .option("--plan <file>", "carry out a plan.json instead of deciding anew")
  .option("--config <file>", "YAML file with any of these settings; options override it")
  .option("--threads <n>", "threads of one operator", number)
  .option("--json", "print one JSON document on stdout and nothing else")
  .option("-q, --quiet", "no progress")
  .action(async (model, options) => (await import("./prune.ts")).pruneCommand(model, options));

program
  .command("eval")
  .description("perplexity of a model on texts")
  .argument("<model>", "Hugging Face directory or .gguf file")
  .requiredOption("--text <texts...>", "texts to evaluate on, NAME=PATH")
  .option("--seq-len <n>", "tokens in a window", number, 512)
  .option("--limit <n>", "at most this many windows of each text", number)
  .option("--baseline <model>", "second model to be shown beside it")
  .option("--threads <n>", "threads of one operator", number)
  .option("--json", "print one JSON document on stdout and nothing else")
  .option("-q, --quiet", "no progress")
  .action(async (model, options) => (await import("./eval.ts")).evalCommand(model, options));

program
  .command("export")
  .description("write a model in another format or dtype")
  .argument("<model>", "Hugging Face directory or .gguf file")
  .requiredOption("-o, --output <dir>", "directory to be made")
  .addOption(new Option("--format <name>", "format of the output").choices(["hf"]).default("hf"))
  .addOption(dtypeOption())
  .option("-q, --quiet", "no progress")
  .action(async (model, options) => (await import("./export.ts")).exportCommand(model, options));

program
  .command("inspect")
  .description("parameters, widths and shapes of a model")
  .argument("<model>", "Hugging Face directory or .gguf file")
  .option("--json", "print one JSON document on stdout and nothing else")
  .action(async (model, options) => (await import("./inspect.ts")).inspectCommand(model, options));

program
  .command("generate")
  .description("continue a prompt, the most probable token each time")
  .argument("<model>", "Hugging Face directory or .gguf file")
  .requiredOption("--prompt <text>", "text to continue")
  .option("--max-tokens <n>", "tokens to generate at most", number, 32)
  .option("--threads <n>", "threads of one operator", number)
  .action(async (model, options) => (await import("./generate.ts")).generateCommand(model, options));

program
  .command("demo")
  .description("the whole job on the embedded model, in about a minute")
  .option("-o, --output <dir>", "where the pruned demo model goes; a new temporary directory when absent")
  .option("-s, --sparsity <fraction>", "fraction of the attention and FFN parameters to remove", number, 0.4)
  .option("-q, --quiet", "no progress")
  .action(async (options) => (await import("./demo.ts")).demoCommand(options));

function dtypeOption(): Option {
  return new Option("--dtype <name>", "dtype of the output").choices(["auto", "f32", "f16", "bf16"]);
}

function number(text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value)) return value;
  throw new InvalidArgumentError("Expected a number.");
}

handleSignals();
try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode;
  else fail(error);
}
