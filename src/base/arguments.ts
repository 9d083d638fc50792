/**
 * Checks of arguments of the public API. Programs in JavaScript and unset variables pass values that the types forbid.
 * `where` is the argument's name in messages.
 */
import { GpruneError } from "../errors.ts";
import { plainName } from "./plain_text.ts";

/** The error of an argument: `where: expected X, got Y`. */
export function badArgument(where: string, expected: string, got: unknown): GpruneError {
  return new GpruneError("BAD_ARGUMENT", `${where}: expected ${expected}, got ${got}`);
}

/** @throws GpruneError BAD_ARGUMENT unless a number is whole, at least `least` and at most `most` */
export function requireCount(
  where: string,
  count: number,
  { least = 1, most = Number.MAX_SAFE_INTEGER }: { readonly least?: number; readonly most?: number } = {},
): void {
  if (Number.isSafeInteger(count) && count >= least && count <= most) return;
  const limit = most === Number.MAX_SAFE_INTEGER ? "" : ` and at most ${most}`;
  throw badArgument(where, `a whole number of at least ${least}${limit}`, count);
}

/** @throws GpruneError BAD_ARGUMENT unless a number is above 0 and finite */
export function requirePositive(where: string, value: number): void {
  if (!(Number.isFinite(value) && value > 0)) throw badArgument(where, "a positive number", value);
}

/** @throws GpruneError BAD_ARGUMENT unless `word` is one of `choices` */
export function requireOneOf(where: string, word: unknown, choices: readonly string[]): void {
  if (!choices.some((choice) => choice === word))
    throw badArgument(where, `one of ${choices.join(", ")}`, word);
}

/** @throws GpruneError BAD_ARGUMENT for an empty list */
export function requireSome(where: string, { length }: readonly unknown[]): void {
  if (length === 0) throw badArgument(where, "at least one", "none");
}

/** @throws GpruneError BAD_ARGUMENT unless each of `count` sets has a weight above 0 */
export function requireWeights(weights: readonly number[], count: number): void {
  if (weights.length !== count) throw badArgument("weights", `${count}, one for each set`, weights.length);
  for (const [index, weight] of weights.entries()) requirePositive(`weight ${index + 1}`, weight);
}

/** The first name that repeats an earlier one; undefined when all differ. */
export function duplicateName(named: readonly { readonly name: string }[]): string | undefined {
  const names = named.map(({ name }) => name);
  return names.find((name, index) => names.indexOf(name) !== index);
}

/** @throws GpruneError BAD_ARGUMENT when two items have the same name */
export function requireOwnNames(where: string, named: readonly { readonly name: string }[]): void {
  const duplicate = duplicateName(named);
  if (duplicate !== undefined) throw badArgument(where, "different names", `${plainName(duplicate)} twice`);
}
