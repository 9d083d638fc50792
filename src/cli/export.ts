/** `gprune export` */
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import {
  DTYPE_CHOICES,
  type DTypeChoice,
  GGUF_CHOICES,
  type GgufDType,
  ONNX_CHOICES,
  type OnnxDType,
} from "../base/choices.ts";
import type { OnProgress } from "../base/progress.ts";
import { GpruneError } from "../errors.ts";
import { requireDtype } from "../export/dtype_choice.ts";
import { exportGguf } from "../export/gguf.ts";
import { exportHuggingFace } from "../export/hf.ts";
import { exportOnnx } from "../export/onnx.ts";
import { exportResumably } from "../export/resumed_export.ts";
import { requireFreeDirectory, requireFreeFile } from "../io/files/output_place.ts";
import type { Model } from "../model/model.ts";
import { stopSignal } from "./compute_child.ts";
import { openForCommand } from "./models.ts";
import { withProgress } from "./progress.ts";
import { print, printJson, say } from "./terminal.ts";

interface ExportCommandOptions {
  readonly output: string;
  readonly format?: string;
  readonly dtype?: string;
  readonly pre?: string;
  readonly resume?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** Options of a single format, with the hint for using them with another. */
const OWN_OPTIONS = {
  resume: "Only safetensors shards can be resumed; other formats are written in one step.",
  pre: "Other formats contain the tokenizer itself.",
} as const;

/** An output format. */
interface Format {
  /** Choices of `--dtype`. */
  readonly dtypes: readonly string[];
  /** Options that only this format has. */
  readonly own: readonly (keyof typeof OWN_OPTIONS)[];
  /** Called before the model is opened. @throws GpruneError when the output cannot be written */
  readonly require: (output: string, model: string) => Promise<void>;
  /** @returns warnings about the output */
  readonly write: (
    model: Model,
    options: ExportCommandOptions,
    onProgress: OnProgress,
  ) => Promise<readonly string[]>;
}

const FORMATS: Readonly<Record<string, Format>> = {
  hf: {
    dtypes: DTYPE_CHOICES,
    own: ["resume"],
    require: (output, model) => requireDirectoryFor("hf", output, model),
    write: async (model, { output, dtype = "auto", resume }, onProgress) => {
      const settings = { dtype: dtype as DTypeChoice, onProgress };
      if (resume) await exportResumably(model, output, { ...settings, signal: stopSignal() });
      else await exportHuggingFace(model, output, settings);
      return [];
    },
  },
  onnx: {
    dtypes: ONNX_CHOICES,
    own: [],
    require: (output, model) => requireDirectoryFor("onnx", output, model),
    write: async (model, { output, dtype = "auto" }, onProgress) => {
      await exportOnnx(model, output, { dtype: dtype as "auto" | OnnxDType, onProgress });
      return [];
    },
  },
  gguf: {
    dtypes: GGUF_CHOICES,
    own: ["pre"],
    require: async (output) => {
      if (!isGgufName(output)) {
        throw new GpruneError("BAD_ARGUMENT", `--output: expected a file named *.gguf, got ${output}`, {
          hint: `Name it -o ${output}.gguf`,
        });
      }
      await requireFreeFile(output);
    },
    write: async (model, { output, dtype = "auto", pre }, onProgress) => {
      const options = { dtype: dtype as "auto" | GgufDType, pre, onProgress };
      return (await exportGguf(model, output, options)).warnings;
    },
  },
};

/** @throws GpruneError BAD_ARGUMENT for an option of another format */
function requireOwnOptions(name: string, options: ExportCommandOptions): void {
  for (const [owner, { own }] of Object.entries(FORMATS)) {
    const foreign = owner === name ? undefined : own.find((option) => options[option] !== undefined);
    if (foreign === undefined) continue;
    throw new GpruneError("BAD_ARGUMENT", `--${foreign}: expected the format ${owner}, got ${name}`, {
      hint: OWN_OPTIONS[foreign],
    });
  }
}

export async function exportAction(path: string, asked: ExportCommandOptions): Promise<void> {
  const options = { ...asked, output: withoutLastSlash(asked.output) };
  const { output, dtype = "auto" } = options;
  const name = options.format ?? (isGgufName(output) ? "gguf" : "hf");
  const format = FORMATS[name]!;
  requireDtype(dtype, format.dtypes, name);
  requireOwnOptions(name, options);
  await format.require(output, path);
  const model = await openForCommand(path, options);
  try {
    const warnings = await withProgress(options, (onProgress) => format.write(model, options, onProgress));
    for (const warning of warnings) say(`warning: ${warning}`);
    if (options.json) printJson({ output, format: name, bytes: await bytesIn(output), warnings });
    else print(output);
  } finally {
    await model.weights.close();
  }
}

/** Size in bytes of a file, or of all files in a directory. */
async function bytesIn(path: string): Promise<number> {
  const found = await stat(path);
  if (!found.isDirectory()) return found.size;
  const sizes = (await readdir(path)).map((name) => bytesIn(join(path, name)));
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

/** Hints for an output named like a file where the format is a directory, by the name's ending. */
const FILE_NAMES: ReadonlyMap<string, (stem: string) => string> = new Map([
  [
    "onnx",
    (stem) =>
      `An ONNX export is a directory, with the files that transformers.js needs: -o ${stem} --format onnx`,
  ],
  [
    "safetensors",
    (stem) => `A safetensors checkpoint is a directory, with config.json and tokenizer: -o ${stem}`,
  ],
  ["gguf", (stem) => `For a GGUF file, leave --format out; otherwise name a directory: -o ${stem}`],
  ...["bin", "pt", "pth"].map((ending): [string, (stem: string) => string] => [
    ending,
    (stem) => `Weights are written as safetensors in a directory: -o ${stem}`,
  ]),
]);

/** @throws GpruneError BAD_ARGUMENT for a name in {@link FILE_NAMES}, and as `requireFreeDirectory` */
async function requireDirectoryFor(format: string, output: string, model: string): Promise<void> {
  const { stem = "", ending = "" } = /^(?<stem>.*[^/])\.(?<ending>\w+)$/.exec(output)?.groups ?? {};
  const hint = FILE_NAMES.get(ending.toLowerCase())?.(stem);
  if (hint !== undefined) {
    const message = `--output: expected a directory name for the format ${format}, got ${output}`;
    throw new GpruneError("BAD_ARGUMENT", message, { hint });
  }
  await requireFreeDirectory(output, model);
}

/** A path without trailing slashes: `model.gguf/` names a file as well. */
function withoutLastSlash(path: string): string {
  return path.replace(/(?<=[^/])\/+$/, "");
}

function isGgufName(output: string): boolean {
  return output.toLowerCase().endsWith(".gguf");
}
