/** `gprune export` */
import { type DTypeChoice, exportHuggingFace } from "../export/hf.ts";
import { openModel } from "../model/checkpoint.ts";
import { plainText, print, progressDisplay } from "./terminal.ts";

interface ExportCommandOptions {
  readonly output: string;
  readonly dtype?: DTypeChoice;
  readonly quiet?: boolean;
}

export async function exportCommand(
  path: string,
  { output, dtype = "auto", quiet }: ExportCommandOptions,
): Promise<void> {
  const model = await openModel(path);
  const display = progressDisplay({ quiet });
  try {
    await exportHuggingFace(model, output, { dtype, onProgress: display.onProgress });
  } finally {
    display.stop();
    await model.weights.close();
  }
  print(plainText(output));
}
