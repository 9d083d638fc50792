/**
 * What a model's card says that holds for models made from it as well: its licence and its languages, from the front
 * matter of README.md. A card is a stranger's text that nothing is computed from, so what is not as expected is left
 * out.
 *
 * Keys: modelcard.md of huggingface/hub-docs.
 */

import { plainText } from "../base/plain_text.ts";
import { parseYaml } from "../io/files/yaml.ts";

/** Under the keys of the front matter. */
export interface CardFields {
  readonly license?: string | readonly string[];
  readonly license_name?: string;
  readonly license_link?: string;
  readonly language?: string | readonly string[];
}

/** Bytes of a card that is carried. */
export const MAX_CARD_BYTES: number = 2 ** 22;

/** Characters of a value, a link among them, and values of a list; models of many languages have some hundred. */
const MAX_CHARACTERS = 1000;
const MAX_VALUES = 1000;

const FRONT_MATTER = /^\ufeff?---[ \t]*\r?\n(?<yaml>[\s\S]*?)\r?\n---[ \t]*(?:\r?\n|$)/;

/**
 * The fields of a card that are plain strings, or plain lists of such where lists are usual; nothing of one that is no
 * YAML.
 */
export function cardFields(card: Uint8Array | undefined): CardFields {
  const found = frontMatter(new TextDecoder().decode(card));
  const one = (key: string): string | undefined => (isPlain(found[key]) ? found[key] : undefined);
  const some = (key: string): string | readonly string[] | undefined => {
    const value = found[key];
    const isList = Array.isArray(value) && value.length > 0 && value.length <= MAX_VALUES;
    return isList && value.every(isPlain) ? value : one(key);
  };
  const fields = {
    license: some("license"),
    license_name: one("license_name"),
    license_link: one("license_link"),
    language: some("language"),
  };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

/** Whether a card's front matter has a tag. */
export function cardHasTag(card: Uint8Array, tag: string): boolean {
  const { tags } = frontMatter(new TextDecoder().decode(card));
  return Array.isArray(tags) && tags.includes(tag);
}

/** Lines of front matter; JSON is YAML in which no string is taken for something else, as `no` is for false. */
export function frontMatterLines(fields: Readonly<Record<string, unknown>>): string {
  return Object.entries(fields)
    .map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`)
    .join("");
}

/**
 * What is left of a card for a model that is made from the card's; nothing when it says nothing that holds for both.
 */
export function inheritedCard(card: Uint8Array | undefined): { readonly card?: Uint8Array } {
  const lines = frontMatterLines({ ...cardFields(card) });
  return lines === "" ? {} : { card: Buffer.from(`---\n${lines}---\n`) };
}

function frontMatter(card: string): Readonly<Record<string, unknown>> {
  const yaml = FRONT_MATTER.exec(card)?.groups?.yaml;
  if (yaml === undefined) return {};
  try {
    const value = parseYaml(yaml, "README.md", "BAD_FILE");
    return typeof value === "object" && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}

/** A string of one line that is nothing but what one sees. */
function isPlain(value: unknown): value is string {
  return (
    typeof value === "string" &&
    value.trim() !== "" &&
    value.length <= MAX_CHARACTERS &&
    plainText(value) === value &&
    !/[\t\n\u2028\u2029]/.test(value)
  );
}
