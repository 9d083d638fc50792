/**
 * The card that a copy of a model gets: its own, where others wrote it. One of ours tells of the directory that it lies
 * in, so that a copy in another format, or without the plan, has one that tells of the copy.
 */
import { cardHasTag } from "../model/card_fields.ts";
import { CARD_TAG, EVALUATION_HINT, PLAN_SENTENCE } from "./card.ts";

/** What a copy is, as far as its card goes. */
export interface CopiedCard {
  /** How it is loaded, Markdown; absent in a copy that is loaded as the original. */
  readonly loading?: string;
  /** `library_name` of the front matter; absent in a copy of the same library. */
  readonly library?: string;
  /** Whether plan.json is there. */
  readonly hasPlan: boolean;
}

const LIBRARY = /^library_name: .*$/m;
/** To the next heading; what is indented is no heading. */
const LOADING_SECTION = /^## Loading\n[\s\S]*?(?=^## |(?![\s\S]))/m;

/** The card of a copy. @param card - UTF-8 */
export function copiedCard(card: Uint8Array, { loading, library, hasPlan }: CopiedCard): Uint8Array {
  if (!cardHasTag(card, CARD_TAG)) return card;
  let text = new TextDecoder().decode(card);
  if (!hasPlan) text = text.replace(PLAN_SENTENCE, "");
  if (library !== undefined) text = text.replace(LIBRARY, () => `library_name: ${library}`);
  if (loading !== undefined) {
    text = text.replace(LOADING_SECTION, () => `## Loading\n\n${loading}\n\n`);
    // Our evaluation reads no copy that is loaded in another way.
    text = text.replace(`${EVALUATION_HINT}\n\n`, "");
  }
  return Buffer.from(text);
}
