/** The files that travel with a model into a directory: tokenizer, chat templates, licence, and its card. */
import { join } from "node:path";
import { isJsonObject } from "../io/files/json.ts";
import { writeFileAtomically } from "../io/files/output_directory.ts";
import { familyByName } from "../model/families.ts";
import type { HfForm } from "../model/hf/config_writer.ts";
import { CARD_FILE, type CarriedFile, type Model } from "../model/model.ts";
import { type CopiedCard, copiedCard } from "./carried_card.ts";

const PLAN_FILE = "plan.json";
const TOKENIZER_CONFIG = "tokenizer_config.json";

/**
 * The files for a form. What transformers makes a tokenizer of depends on the model type as well: a family whose
 * tokenizer.json it takes as it is, whatever class is declared, has that class declared where another model type stands
 * for it.
 */
export function carriedFiles({ files, spec }: Model, { family, remoteCode }: HfForm): readonly CarriedFile[] {
  const takesFile = (name: string): boolean => familyByName(name, "spec").tokenizer === "file";
  if (!takesFile(spec.family) || (!remoteCode && takesFile(family.modelType))) return files;
  return files.map((file) => (file.name === TOKENIZER_CONFIG ? withClassOfFile(file) : file));
}

/** The same configuration for tokenizer.json as it is; one that is no JSON object stays. */
function withClassOfFile({ name, bytes }: CarriedFile): CarriedFile {
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
  /** Names of files that the directory has of its own. */
  readonly own?: ReadonlySet<string>;
}

/** Writes them, but for those that the directory has of its own. */
export async function writeCarried(
  { files, card }: Model,
  directory: string,
  { own = new Set(), ...copied }: CarryingOptions = {},
): Promise<void> {
  const bytes = card && copiedCard(card, { ...copied, hasPlan: own.has(PLAN_FILE) });
  const all = [...files, ...(bytes === undefined ? [] : [{ name: CARD_FILE, bytes }])];
  for (const { name, bytes } of all) {
    if (!own.has(name)) await writeFileAtomically(join(directory, name), bytes);
  }
}
