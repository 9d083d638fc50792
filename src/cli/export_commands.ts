/** Definitions of `gprune export` and `push`. */
import type { Command } from "commander";
import { DTYPE_CHOICES, GGUF_CHOICES, ONNX_CHOICES } from "../base/choices.ts";
import { computing, dtypeOption, GpruneCommand, MODEL, notes, tellingOptions } from "./common.ts";
import { choiceOption } from "./options.ts";

export const exportCommand: Command = new GpruneCommand("export")
  .summary("write a model in another format or dtype")
  .description("Writes a model in another format or dtype.")
  .usage("MODEL -o OUT [options]")
  .argument("<model>", MODEL)
  .requiredOption("-o, --output <path>", "output directory, new or empty, or a new file named *.gguf")
  .addOption(
    choiceOption("--format <name>", "format of the output (default: gguf for *.gguf, else hf)", [
      "hf",
      "gguf",
      "onnx",
    ]),
  )
  .addOption(dtypeOption("see below", [...new Set([...DTYPE_CHOICES, ...GGUF_CHOICES, ...ONNX_CHOICES])]))
  .option("--pre <name>", "gguf: llama.cpp's name of the pre-tokenizer, if it is not recognised")
  .option("--resume", "hf: keep finished shards in OUT.run until all are written, and continue from them")
  .addOptions(tellingOptions())
  .addHelpText(
    "after",
    notes(`
auto keeps the dtype of a float checkpoint and writes one in FP8 as bf16 and other quantised ones as f32; ONNX files of
bf16 checkpoints are f32. hf is a Hugging Face directory (f32, f16, bf16); gguf a file for llama.cpp (f32, f16, bf16 and
the q types; rows that do not fill their blocks are stored as Q8_0 or F16, with a warning); onnx a directory for
transformers.js and ONNX Runtime: one decoder with a key/value cache (f32, f16; int8 and int4, whose products round
activations to 8 bits).

Examples:
  $ gprune export model.Q4_1.gguf -o model-hf
  $ gprune export model.Q4_1.gguf -o model-bf16 --dtype bf16
  $ gprune export PRUNED -o pruned.gguf --dtype q8_0
  $ gprune export PRUNED -o model-onnx --format onnx --dtype int4`),
  )
  .action(computing(async (model, options) => (await import("./export.ts")).exportAction(model, options)));

export const pushCommand: Command = new GpruneCommand("push")
  .summary("upload the output of prune or export to the hub")
  .description("Uploads the output of prune or export to the hub.")
  .usage("DIR ORG/NAME [options]")
  .argument("<dir>", "directory that gprune wrote")
  .argument("<repo>", "ORG/NAME on the hub; created if it does not exist")
  .option("--private", "create it as private; an existing one must be private")
  .option("--revision <branch>", "branch to commit to, created if it does not exist (default: main)")
  .addOptions(tellingOptions())
  .addHelpText(
    "after",
    notes(`
Uploads every file but hidden ones in one commit and prints the address. HF_TOKEN must be allowed to write.

Example:
  $ gprune push OUT my-org/my-model --private`),
  )
  .action(async (dir, repo, options) => (await import("./push.ts")).pushAction(dir, repo, options));
