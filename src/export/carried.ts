/** The files that travel with a model into a directory: tokenizer, chat templates, licence, and its card. */
import { join } from "node:path";
import { writeFileAtomically } from "../io/output_directory.ts";
import { CARD_FILE, type Model } from "../model/model.ts";

/** Writes them, but for those that the directory has of its own. @param own - names of the latter */
export async function writeCarried(
  { files, card }: Model,
  directory: string,
  own: ReadonlySet<string> = new Set(),
): Promise<void> {
  const all = [...files, ...(card === undefined ? [] : [{ name: CARD_FILE, bytes: card }])];
  for (const { name, bytes } of all) {
    if (!own.has(name)) await writeFileAtomically(join(directory, name), bytes);
  }
}
