/** The kinds of text in the demo corpus, each a pure function of a seed. */
import { almanac } from "./almanac.ts";
import { arithmetic } from "./arithmetic.ts";
import { program } from "./code.ts";
import { records } from "./records.ts";
import { story } from "./stories.ts";
import { tongue } from "./tongue.ts";

/** Writes one document from a seed. */
export type Generator = (seed: number) => string;

/** The generators by the name of their kind. */
export const KINDS: Readonly<Record<string, Generator>> = {
  stories: story,
  code: program,
  records,
  arithmetic,
  tongue,
  almanac,
};
