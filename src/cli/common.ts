/** Common parts of commands: the MODEL argument, shared options, and computing in a child process. */
import { Command, Help, Option } from "commander";
import { DTYPE_CHOICES, MAX_THREADS } from "../base/choices.ts";
import { deviceOptions } from "./device_options.ts";
import { choiceOption, countOption, directoryOption, numberOption, serverOption } from "./options.ts";
import { isComputeChild } from "./role.ts";

export const MODEL: string =
  "Hugging Face directory, .gguf file, or hf://ORG/NAME[@REVISION][/FILE.gguf] on the hub";

/** A commander command that takes lists of options. */
export class GpruneCommand extends Command {
  addOptions(options: readonly Option[]): this {
    for (const option of options) this.addOption(option);
    return this;
  }
}

/** Action of a command that computes: the parent process runs it in a child, the child runs `action` itself. */
export function computing<A extends unknown[]>(
  action: (...args: A) => Promise<void>,
): (...args: A) => Promise<void> {
  return async (...args) => {
    if (!isComputeChild()) return (await import("./compute_parent.ts")).computeInChild();
    return (await import("./compute_child.ts")).computeForParent(() => action(...args));
  };
}

/** Text after the options of --help: paragraphs are wrapped, lines that start with a space stay whole. */
export function notes(text: string): () => string {
  const paragraphs = text.replaceAll(/(?<=\S)\n(?=\S)/g, " ").split("\n");
  return () => {
    const [help, width] = [new Help(), process.stdout.columns ?? 80];
    return paragraphs.map((line) => (line.startsWith(" ") ? line : help.boxWrap(line, width))).join("\n");
  };
}

export function sparsityOption(note: string, preset?: number): Option {
  const description = `fraction of the attention and FFN parameters to remove ${note}`.trimEnd();
  const range = { min: 0, below: 1, hint: "Give a fraction: 0.3 removes 30 %." };
  return numberOption("-s, --sparsity <fraction>", description, {
    ...range,
    ...(preset !== undefined && { default: preset }),
  });
}

/** @param note - what `auto` is; @param choices - dtypes of all formats that the output may have */
export function dtypeOption(note: string, choices: readonly string[] = DTYPE_CHOICES): Option {
  return choiceOption("--dtype <name>", `dtype of the output; auto: ${note} (default: auto)`, choices);
}

export function threadsOption(): Option {
  const range = { min: 1, max: MAX_THREADS };
  return countOption("--threads <n>", "threads per operator (default: one per usable core)", range);
}

/** @param min - least number of tokens in a window */
export function seqLenOption(min: number): Option {
  const usual = "512, or the model's context length if that is less";
  return countOption("--seq-len <n>", `tokens in a window (default: ${usual})`, { min });
}

export function resumeOption(): Option {
  return directoryOption("--resume <dir>", "keep finished texts and tasks in DIR, and continue from those");
}

export function redisOption(description: string): Option {
  return serverOption(
    "--redis <url>",
    `redis://HOST[:PORT], or postgres://[USER@]HOST[:PORT]/DATABASE: ${description}`,
  );
}

export function storeOption(): Option {
  return new Option(
    "--store <place>",
    "directory or s3://BUCKET[/PREFIX] that the run and all workers can reach",
  );
}

/** Options of commands that compute. */
export function computingOptions(): readonly Option[] {
  return [threadsOption(), ...deviceOptions()];
}

export function jsonOption(): Option {
  return new Option("--json", "print one JSON document on stdout and nothing else");
}

/** Options of commands that take a while. */
export function tellingOptions(): readonly Option[] {
  return [jsonOption(), new Option("-q, --quiet", "print no progress; warnings and hints still appear")];
}
