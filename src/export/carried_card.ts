/**
 * The card of a model's copy. A card that gprune did not write is copied unchanged. One that gprune wrote describes the
 * directory it lies in, so it is adapted to a copy in another format or without the plan.
 */
import { cardHasTag } from "../model/card_fields.ts";
import { CARD_TAG, EVALUATION_HINT, PLAN_SENTENCE } from "./card.ts";

/** Facts about a copy that its card states. */
export interface CopiedCard {
  /** How to load it, Markdown; absent for a copy that loads like the original. */
  readonly loading?: string;
  /** `library_name` of the front matter; absent for a copy of the same library. */
  readonly library?: string;
  /** Whether the copy contains plan.json. */
  readonly hasPlan: boolean;
}

const LIBRARY = /^library_name: .*$/m;
/** From the heading to the next one or the end of the card; indented lines are no headings. */
const LOADING_SECTION = /^## Loading\n[\s\S]*?(?=^## |(?![\s\S]))/m;

/** The card of a copy. @param card - UTF-8 */
export function copiedCard(card: Uint8Array, { loading, library, hasPlan }: CopiedCard): Uint8Array {
  if (!cardHasTag(card, CARD_TAG)) return card;
  let text = new TextDecoder().decode(card);
  if (!hasPlan) text = text.replace(PLAN_SENTENCE, "");
  if (library !== undefined) text = text.replace(LIBRARY, () => `library_name: ${library}`);
  if (loading !== undefined) {
    text = text.replace(LOADING_SECTION, () => `## Loading\n\n${loading}\n\n`);
    // `gprune eval` reads no copy that loads differently.
    text = text.replace(`${EVALUATION_HINT}\n\n`, "");
  }
  return Buffer.from(text);
}
