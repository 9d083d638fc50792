/** The files that are copied with a model into its output directory: tokenizer, chat templates, licence, model card. */
import { join } from "node:path";
import { RUN_FILES } from "../base/file_names.ts";
import { isJsonObject } from "../io/files/json.ts";
import { writeFileAtomically } from "../io/files/output_directory.ts";
import { familyByName } from "../model/families/families.ts";
import type { HfForm } from "../model/hf/config_writer.ts";
import { CARD_FILE, type CarriedFile, type Model } from "../model/model.ts";
import { type CopiedCard, copiedCard } from "./carried_card.ts";

const TOKENIZER_CONFIG = "tokenizer_config.json";

/**
 * The carried files of a model as they must be in a directory of this form. For some model types transformers loads
 * tokenizer.json as it is, whatever class tokenizer_config.json declares. Where a model of such a family is written as
 * a type of another kind, or with remote code, tokenizer_config.json is made to declare PreTrainedTokenizerFast, and so
 * wherever a wrong class may be declared.
 */
export function carriedFiles({ files, spec }: Model, { family, remoteCode }: HfForm): readonly CarriedFile[] {
  const { tokenizer } = familyByName(spec.family, "spec").readers;
  const isMisread = tokenizer === "file" && (remoteCode || family.readers.tokenizer !== "file");
  if (!isMisread && tokenizer !== "misdeclared") return files;
  return files.map((file) => (file.name === TOKENIZER_CONFIG ? withFastClass(file) : file));
}

/** tokenizer_config.json with PreTrainedTokenizerFast as its class; unchanged unless it is a JSON object. */
function withFastClass({ name, bytes }: CarriedFile): CarriedFile {
  const config = objectIn(bytes);
  if (config === null) return { name, bytes };
  const declared = { ...config, tokenizer_class: "PreTrainedTokenizerFast" };
  return { name, bytes: Buffer.from(`${JSON.stringify(declared, null, 2)}\n`) };
}

function objectIn(bytes: Uint8Array): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return isJsonObject(value) ? value : null;
  } catch {
    return null;
  }
}

export interface CarryingOptions extends Pick<CopiedCard, "loading" | "library"> {
  /** Names of files that were written to the directory before, and are not overwritten. */
  readonly written?: ReadonlySet<string>;
}

/** Writes a model's carried files and its card to a directory, except those in `written`. */
export async function writeCarried(
  { files, card }: Model,
  directory: string,
  { written = new Set(), ...copied }: CarryingOptions = {},
): Promise<void> {
  const hasPlan = written.has(RUN_FILES.plan);
  const cards =
    card === undefined ? [] : [{ name: CARD_FILE, bytes: copiedCard(card, { ...copied, hasPlan }) }];
  for (const { name, bytes } of [...files, ...cards]) {
    if (!written.has(name)) await writeFileAtomically(join(directory, name), bytes);
  }
}
