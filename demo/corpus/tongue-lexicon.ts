/**
 * The lexicon of a constructed language.
 *
 * The roots are made once from a fixed seed by the sound rules below, so they
 * are the same in every document. They have no meaning outside these texts.
 */
import { createRng, type Rng, words } from "./prng.ts";

/** The three noun classes. Adjectives and verbs agree with them. */
export type Class = "sun" | "stone" | "water";

/** A noun with its class and the theme of talk it belongs to. */
export interface Noun {
  readonly root: string;
  readonly kind: Class;
  readonly theme: number;
}

/** A verb with the theme of the objects it takes. */
export interface Verb {
  readonly root: string;
  readonly theme: number;
}

const CLASSES: readonly Class[] = ["sun", "stone", "water"];

/** How many themes of talk there are. */
export const THEMES = 12 as const;

const ONSETS: readonly string[] = words("k t s m v l r n d p b z š č h g kr tr sl vl st gr");
const VOWELS: readonly string[] = words("a e i o u ä ö ai ou");
const CODAS: readonly string[] = ["", "", "", ...words("n r l s m k t š")];

function syllable(rng: Rng): string {
  return rng.skewed(ONSETS) + rng.skewed(VOWELS) + rng.pick(CODAS);
}

function newRoot(rng: Rng, used: Set<string>, length: number): string {
  for (;;) {
    let root = "";
    for (let left = length; left > 0; left -= 1) {
      root += syllable(rng);
    }
    if (!used.has(root)) {
      used.add(root);
      return root;
    }
  }
}

function roots(rng: Rng, used: Set<string>, count: number): string[] {
  return Array.from({ length: count }, () => newRoot(rng, used, rng.chance(0.35) ? 1 : 2));
}

const source: Rng = createRng(7411);
const taken: Set<string> = new Set();

/** The nouns, about three hundred. */
export const NOUNS: readonly Noun[] = roots(source, taken, 288).map((root, index) => ({
  root,
  kind: CLASSES[index % 3] ?? "sun",
  theme: Math.floor(index / 3) % THEMES,
}));

/** The verbs. */
export const VERBS: readonly Verb[] = roots(source, taken, 132).map((root, index) => ({
  root,
  theme: index % THEMES,
}));

/** The adjectives, each used with the nouns of some themes only. */
export const ADJECTIVES: readonly Verb[] = roots(source, taken, 96).map((root, index) => ({
  root,
  theme: index % THEMES,
}));

/** Names of persons. */
export const NAMES: readonly string[] = roots(source, taken, 60).map(
  (root) => `${root.charAt(0).toUpperCase()}${root.slice(1)}`,
);

/** Adverbs, which do not change their form. */
export const ADVERBS: readonly string[] = roots(source, taken, 36).map((root) => `${root}ni`);

/** Words that join sentences. */
export const JOINERS: readonly string[] = words("eš po dal hai šen or");

/** Case endings by class, for the singular and the plural. */
export const CASES: Readonly<Record<Class, Readonly<Record<string, readonly [string, string]>>>> = {
  sun: {
    nom: ["a", "ai"],
    acc: ["an", "ain"],
    gen: ["as", "aiso"],
    dat: ["amu", "aimu"],
    loc: ["ale", "aile"],
    abl: ["ato", "aito"],
  },
  stone: {
    nom: ["o", "oi"],
    acc: ["on", "oin"],
    gen: ["os", "oiso"],
    dat: ["oru", "oiru"],
    loc: ["oke", "oike"],
    abl: ["odo", "oido"],
  },
  water: {
    nom: ["e", "ei"],
    acc: ["en", "ein"],
    gen: ["es", "eiso"],
    dat: ["evu", "eivu"],
    loc: ["ese", "eise"],
    abl: ["eto", "eito"],
  },
};

/** Verb endings by tense, then by the class of the subject. */
export const TENSES: Readonly<Record<string, Readonly<Record<Class, readonly [string, string]>>>> = {
  past: { sun: ["ika", "ikai"], stone: ["iko", "ikoi"], water: ["ike", "ikei"] },
  now: { sun: ["ura", "urai"], stone: ["uro", "uroi"], water: ["ure", "urei"] },
  later: { sun: ["esta", "estai"], stone: ["esto", "estoi"], water: ["este", "estei"] },
};
