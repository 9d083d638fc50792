/**
 * Texts in a constructed language.
 *
 * The verb comes last. Nouns have three classes, six cases and two numbers;
 * adjectives take the ending of their noun and verbs agree with the class and
 * number of their subject. A text stays with one or two themes and one tense,
 * and comes back to the persons it has named.
 */
import { capital, createRng, type Rng } from "./prng.ts";
import {
  ADJECTIVES,
  ADVERBS,
  CASES,
  JOINERS,
  NAMES,
  NOUNS,
  type Noun,
  TENSES,
  THEMES,
  VERBS,
  type Verb,
} from "./tongue-lexicon.ts";

interface Talk {
  readonly rng: Rng;
  readonly themes: readonly number[];
  readonly tense: string;
  readonly persons: readonly string[];
  readonly nouns: readonly Noun[];
}

interface Phrase {
  readonly text: string;
  readonly kind: Noun["kind"];
  readonly plural: boolean;
}

function ending(noun: Noun, role: string, plural: boolean): string {
  return CASES[noun.kind][role]?.[plural ? 1 : 0] ?? "";
}

/** What a noun phrase is about, its grammatical case, and how many phrases may be nested in it. */
interface PhraseWish {
  readonly theme: number;
  readonly role: string;
  readonly depth: number;
}

function nounPhrase(talk: Talk, { theme, role, depth }: PhraseWish): Phrase {
  const { rng } = talk;
  const familiar = talk.nouns.filter((noun) => noun.theme === theme);
  const noun =
    familiar.length > 0 && rng.chance(0.7)
      ? rng.pick(familiar)
      : rng.pick(NOUNS.filter((one) => one.theme === theme));
  const plural = rng.chance(0.3);
  const end = ending(noun, role, plural);
  const parts: string[] = [];
  if (rng.chance(0.35)) {
    parts.push(`${rng.skewed(ADJECTIVES.filter((one) => one.theme === theme)).root}${end}`);
  }
  parts.push(`${noun.root}${end}`);
  const owned = depth > 0 && rng.chance(0.2);
  if (owned) {
    parts.push(`${rng.pick(talk.persons)}so`);
  } else if (depth > 0 && rng.chance(0.2)) {
    parts.push(nounPhrase(talk, { theme: rng.pick(talk.themes), role: "gen", depth: depth - 1 }).text);
  }
  if (depth > 0 && rng.chance(0.12)) {
    const verb = verbOf(talk, rng.pick(talk.themes));
    const object = nounPhrase(talk, { theme: verb.theme, role: "acc", depth: 0 });
    parts.push(`, ke ${object.text} ${verb.root}${verbEnding(talk, noun.kind, plural)},`);
  }
  return { text: parts.join(" ").replace(/ ,/gu, ","), kind: noun.kind, plural };
}

function verbOf({ rng }: Talk, theme: number): Verb {
  return rng.skewed(VERBS.filter((verb) => verb.theme === theme));
}

function verbEnding({ tense }: Talk, kind: Noun["kind"], plural: boolean): string {
  return TENSES[tense]?.[kind][plural ? 1 : 0] ?? "";
}

function subject(talk: Talk, theme: number): Phrase {
  const { rng } = talk;
  if (rng.chance(0.45)) {
    if (rng.chance(0.2)) {
      return { text: rng.sample(talk.persons, 2).join(" u "), kind: "sun", plural: true };
    }
    return { text: rng.chance(0.25) ? "ša" : rng.pick(talk.persons), kind: "sun", plural: false };
  }
  return nounPhrase(talk, { theme, role: "nom", depth: 1 });
}

function clause(talk: Talk): string {
  const { rng } = talk;
  const theme = rng.pick(talk.themes);
  const verb = verbOf(talk, theme);
  const who = subject(talk, rng.pick(talk.themes));
  const parts = [who.text];
  if (rng.chance(0.25)) {
    parts.push(rng.skewed(ADVERBS));
  }
  if (rng.chance(0.35)) {
    parts.push(
      nounPhrase(talk, { theme: rng.pick(talk.themes), role: rng.pick(["loc", "abl"]), depth: 0 }).text,
    );
  }
  if (rng.chance(0.25)) {
    parts.push(
      rng.chance(0.5)
        ? `${rng.pick(talk.persons)}mu`
        : nounPhrase(talk, { theme: rng.pick(talk.themes), role: "dat", depth: 0 }).text,
    );
  }
  if (rng.chance(0.8)) {
    parts.push(nounPhrase(talk, { theme, role: "acc", depth: 1 }).text);
  }
  if (rng.chance(0.15)) {
    parts.push("ne");
  }
  parts.push(`${verb.root}${verbEnding(talk, who.kind, who.plural)}`);
  return parts.join(" ");
}

function sentence(talk: Talk): string {
  const { rng } = talk;
  if (rng.chance(0.12)) {
    return `Ču ${clause(talk)}?`;
  }
  if (rng.chance(0.12)) {
    return `«${capital(clause(talk))}», ${rng.pick(talk.persons)} rad${verbEnding(talk, "sun", false)}.`;
  }
  const first = clause(talk);
  return capital(rng.chance(0.3) ? `${first}, ${rng.pick(JOINERS)} ${clause(talk)}.` : `${first}.`);
}

/** Write one text in the constructed language. */
export function tongue(seed: number): string {
  const rng = createRng(seed);
  const themes = rng.sample([...Array(THEMES).keys()], 2);
  const related = NOUNS.filter((noun) => themes.includes(noun.theme));
  const talk: Talk = {
    rng,
    themes,
    tense: rng.pick(Object.keys(TENSES)),
    persons: rng.sample(NAMES, 3),
    nouns: rng.sample(related, 8),
  };
  const parts: string[] = [];
  for (let left = rng.int(6, 16); left > 0; left -= 1) {
    parts.push(sentence(talk));
  }
  return parts.join(" ");
}
