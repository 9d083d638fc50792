/**
 * The fields of a model card that hold for derived models as well: licence and languages, from the front matter of
 * README.md. A card is untrusted text and nothing is computed from it, so unexpected values are left out.
 *
 * Keys: modelcard.md of huggingface/hub-docs.
 */

import { plainText } from "../base/plain_text.ts";
import { parseYaml } from "../io/files/yaml.ts";

/** Fields by their keys in the front matter. */
export interface CardFields {
  readonly license?: string | readonly string[];
  readonly license_name?: string;
  readonly license_link?: string;
  readonly language?: string | readonly string[];
}

/** Largest card that is carried, bytes. */
export const MAX_CARD_BYTES: number = 2 ** 22;

/** Most characters of a value, which may be a link, and most values of a list; some models name a hundred languages. */
const MAX_CHARACTERS = 1000;
const MAX_VALUES = 1000;

const FRONT_MATTER = /^\ufeff?---[ \t]*\r?\n(?<yaml>[\s\S]*?)\r?\n---[ \t]*(?:\r?\n|$)/;

/** The fields of a card that are plain strings, or lists of those where lists are usual; none without valid YAML. */
export function cardFields(card: Uint8Array | undefined): CardFields {
  const entries = frontMatter(new TextDecoder().decode(card));
  const text = (key: string): string | undefined => (isPlain(entries[key]) ? entries[key] : undefined);
  const textOrList = (key: string): string | readonly string[] | undefined => {
    const value = entries[key];
    const isList = Array.isArray(value) && value.length > 0 && value.length <= MAX_VALUES;
    return isList && value.every(isPlain) ? value : text(key);
  };
  const fields = {
    license: textOrList("license"),
    license_name: text("license_name"),
    license_link: text("license_link"),
    language: textOrList("language"),
  };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

/** Whether a card's front matter has a tag. */
export function cardHasTag(card: Uint8Array, tag: string): boolean {
  const { tags } = frontMatter(new TextDecoder().decode(card));
  return Array.isArray(tags) && tags.includes(tag);
}

/** Lines of front matter. JSON is YAML in which no string is taken for another type, as a bare `no` is for false. */
export function frontMatterLines(fields: Readonly<Record<string, unknown>>): string {
  return Object.entries(fields)
    .map(([key, value]) => `${key}: ${JSON.stringify(value)}\n`)
    .join("");
}

/** The card that derived models inherit, of nothing but `cardFields`; none if there are no fields. */
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

/** Whether a value is one line of visible text, of limited length. */
function isPlain(value: unknown): value is string {
  return (
    typeof value === "string" &&
    value.trim() !== "" &&
    value.length <= MAX_CHARACTERS &&
    plainText(value) === value &&
    !/[\t\n\u2028\u2029]/.test(value)
  );
}
