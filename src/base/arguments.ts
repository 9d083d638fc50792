/**
 * What a caller gives, checked by the name under which it is given. Programs in JavaScript, and variables that are not
 * set, give what the types forbid.
 */
import { GpruneError } from "../errors.ts";
import { plainName } from "./plain_text.ts";

/** The error of an argument: `where: expected X, got Y`. */
export function badArgument(where: string, expected: string, got: unknown): GpruneError {
  return new GpruneError("BAD_ARGUMENT", `${where}: expected ${expected}, got ${got}`);
}

/** @throws GpruneError BAD_ARGUMENT unless a number is whole and at least `least` */
export function requireCount(where: string, count: number, least = 1): void {
  if (!(Number.isSafeInteger(count) && count >= least))
    throw badArgument(where, `a whole number of at least ${least}`, count);
}

/** @throws GpruneError BAD_ARGUMENT unless a number is above 0 and finite */
export function requirePositive(where: string, value: number): void {
  if (!(Number.isFinite(value) && value > 0)) throw badArgument(where, "a positive number", value);
}

/** @throws GpruneError BAD_ARGUMENT for what is not among the words that may be said */
export function requireOneOf(where: string, word: unknown, known: readonly string[]): void {
  if (!known.some((each) => each === word)) throw badArgument(where, `one of ${known.join(", ")}`, word);
}

/** @throws GpruneError BAD_ARGUMENT for a list of nothing */
export function requireSome(where: string, { length }: readonly unknown[]): void {
  if (length === 0) throw badArgument(where, "at least one", "none");
}

/** @throws GpruneError BAD_ARGUMENT unless each of `count` sets has a weight above 0 */
export function requireWeights(weights: readonly number[], count: number): void {
  if (weights.length !== count) throw badArgument("weights", `${count}, one for each set`, weights.length);
  for (const [place, weight] of weights.entries()) requirePositive(`weight ${place + 1}`, weight);
}

/** The first name that two of a list have; undefined when all are different. */
export function duplicateName(named: readonly { readonly name: string }[]): string | undefined {
  const names = named.map(({ name }) => name);
  return names.find((name, index) => names.indexOf(name) !== index);
}

/** @throws GpruneError BAD_ARGUMENT where two of a list have one name */
export function requireOwnNames(where: string, named: readonly { readonly name: string }[]): void {
  const twice = duplicateName(named);
  if (twice !== undefined) throw badArgument(where, "different names", `${plainName(twice)} twice`);
}
