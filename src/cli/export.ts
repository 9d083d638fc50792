/** `gprune export` */
import { GpruneError } from "../errors.ts";
import { exportHuggingFace } from "../export/hf.ts";
import { exportOnnx } from "../export/onnx.ts";
import { requireFreeDirectory } from "../io/output_directory.ts";
import { openModel } from "../model/checkpoint.ts";
import type { Model } from "../model/model.ts";
import type { OnProgress } from "../progress.ts";
import { withProgress } from "./progress.ts";
import { plainText, print } from "./terminal.ts";

interface ExportCommandOptions {
  readonly output: string;
  readonly format: string;
  readonly dtype?: string;
  readonly quiet?: boolean;
}

/** A format of `--format` and what it takes as `--dtype`. */
interface ExportFormat<D extends string = string> {
  readonly dtypes: readonly D[];
  readonly write: (
    model: Model,
    output: string,
    options: { readonly dtype: D; readonly onProgress: OnProgress },
  ) => Promise<void>;
}

const FORMATS: ReadonlyMap<string, ExportFormat> = new Map([
  ["hf", format({ dtypes: ["auto", "f32", "f16", "bf16"], write: exportHuggingFace })],
  ["onnx", format({ dtypes: ["auto", "f32", "f16", "int8", "int4"], write: exportOnnx })],
]);

/** Forgets the names of the dtypes: `exportCommand` checks them while the program runs. */
function format<D extends string>({ dtypes, write }: ExportFormat<D>): ExportFormat {
  return {
    dtypes,
    write: (model, output, options) => write(model, output, options as { dtype: D } & typeof options),
  };
}

export async function exportCommand(path: string, options: ExportCommandOptions): Promise<void> {
  const { output, format: name, dtype = "auto" } = options;
  const { dtypes, write } = FORMATS.get(name)!;
  if (!dtypes.includes(dtype)) {
    throw new GpruneError(
      "BAD_ARGUMENT",
      `--dtype: expected one of ${dtypes.join(", ")} with --format ${name}, got ${dtype}`,
    );
  }
  await requireFreeDirectory(output);
  const model = await withProgress(options, (onProgress) => openModel(path, { onProgress }));
  try {
    await withProgress(options, (onProgress) => write(model, output, { dtype, onProgress }));
  } finally {
    await model.weights.close();
  }
  print(plainText(output));
}
