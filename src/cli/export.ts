/** `gprune export` */
import { type DTypeChoice, exportHuggingFace } from "../export/hf.ts";
import { requireFreeDirectory } from "../io/output_directory.ts";
import { openModel } from "../model/checkpoint.ts";
import { withProgress } from "./progress.ts";
import { plainText, print } from "./terminal.ts";

interface ExportCommandOptions {
  readonly output: string;
  readonly dtype?: DTypeChoice;
  readonly quiet?: boolean;
}

export async function exportCommand(path: string, options: ExportCommandOptions): Promise<void> {
  const { output, dtype = "auto" } = options;
  await requireFreeDirectory(output);
  const model = await openModel(path);
  try {
    await withProgress(options, (onProgress) => exportHuggingFace(model, output, { dtype, onProgress }));
  } finally {
    await model.weights.close();
  }
  print(plainText(output));
}
