/** Opens a model for a command, and prints warnings. */

import { openModel } from "../model/checkpoint/checkpoint.ts";
import { unusedText } from "../model/checkpoint/unused_tensors.ts";
import type { Model } from "../model/model.ts";
import { withProgress } from "./progress.ts";
import { say } from "./terminal.ts";

/** Opens a model, and warns on stderr of tensors that are not used. */
export async function openForCommand(
  path: string,
  { quiet }: { readonly quiet?: boolean | undefined } = {},
): Promise<Model> {
  const model = await withProgress({ quiet }, (onProgress) => openModel(path, { onProgress }));
  sayWarning(unusedText(model));
  return model;
}

/** Prints a warning on stderr, if there is one. */
export function sayWarning(text: string | null): void {
  if (text !== null) say(`warning: ${text}`);
}
