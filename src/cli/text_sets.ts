/** Named texts of the command line: `NAME=PATH[:WEIGHT]`. */
import { duplicateName } from "../base/arguments.ts";
import { isOwnText, OWN_TEXT, parseTextSet, type TextSet } from "../calibrate/text_sets.ts";
import { GpruneError } from "../errors.ts";
import { kindOfPath } from "../io/files/file.ts";
import { mayBeText } from "../io/texts/texts.ts";

/**
 * Parses `NAME=PATH[:WEIGHT]`, one for each calibration set.
 * @param option - the option's name, for messages
 * @throws GpruneError BAD_ARGUMENT also when two sets have the same name
 */
export function parseTextSets(values: readonly string[], option: string): readonly TextSet[] {
  return parsedSets(values, option, { weighted: true });
}

function parsedSets(
  values: readonly string[],
  option: string,
  how?: { readonly weighted: boolean },
): readonly TextSet[] {
  const sets = values.map((value) => parseTextSet(value, option, how));
  const twice = duplicateName(sets);
  if (twice === undefined) return sets;
  throw new GpruneError("BAD_ARGUMENT", `${option}: expected different names, got ${twice} twice`, {
    hint: "Give every set its own name. A directory of files can be one set.",
  });
}

/**
 * Parses `NAME=PATH`, one for each set that is evaluated, where all count alike.
 * @throws GpruneError BAD_ARGUMENT as `parseTextSets`, and for a weight, which would have no effect
 */
export function parseMeasuredSets(values: readonly string[], option: string): readonly TextSet[] {
  const sets = parsedSets(values, option);
  const heavy = sets.find(({ weight }) => weight !== 1);
  if (heavy === undefined) return sets;
  throw new GpruneError(
    "BAD_ARGUMENT",
    `${option}: expected NAME=PATH without a weight, got :${heavy.weight} after ${heavy.name}`,
    {
      hint: `Weights have an effect only in gprune prune. Leave :${heavy.weight} out.`,
    },
  );
}

/** A path that ends like a weight, but was not parsed as one. */
const LOOKS_WEIGHTED = /:[-+.\de]+$/;
const WEIGHT_HINT = "A weight after a path is a number above 0, such as :2 or :0.5.";

/**
 * @param what - name of the kind of set, for messages
 * @throws GpruneError NOT_FOUND when there is nothing at the path of a set, BAD_ARGUMENT for a malformed hf:// address
 */
export async function requireTexts(sets: readonly TextSet[], what = "text of set"): Promise<void> {
  for (const { name, path } of sets) {
    if (await mayBeText(path)) continue;
    const message = `${path}: expected the ${what} ${name}, got no such file or directory`;
    const hint = await hintFor(path);
    throw new GpruneError("NOT_FOUND", message, hint === null ? {} : { hint });
  }
}

/** Hint for a path that does not exist. */
async function hintFor(path: string): Promise<string | null> {
  if (path === OWN_TEXT)
    return "Text that the model generates can only be used for calibration (gprune prune, gprune sensitivity).";
  if (LOOKS_WEIGHTED.test(path)) return WEIGHT_HINT;
  const [before = "", field] = path.split("#");
  const isPlain = field !== undefined && (await kindOfPath(before)) === "file";
  return isPlain ? `${before} is a plain text file, which has no fields; leave #${field} out.` : null;
}

/** As {@link requireTexts}, for calibration sets, one of which may be text that the model will write. */
export function requireCalibration(sets: readonly TextSet[]): Promise<void> {
  return requireTexts(sets.filter((set) => !isOwnText(set)));
}
