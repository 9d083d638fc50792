/** The sets that one calibration pass measures: statistics of the halves of some sets, moments over some. */
import { badArgument, requireOwnNames, requirePositive } from "../base/arguments.ts";
import { tokensOf } from "../graph/decoder/forward.ts";
import { calibrationSetText, type MeasuredSet, type TokenSet, type WeightedTokenSet } from "./calibrate.ts";

/** Even and odd windows as two sets; one set when there is a single window. */
export function halvesOf({ name, windows }: TokenSet): readonly TokenSet[] {
  const halves = windows.length < 2 ? [0] : [0, 1];
  return halves.map((half) => ({
    name: `${name}/${half + 1}`,
    partOf: name,
    windows: windows.filter((_, index) => index % 2 === half),
  }));
}

/**
 * The sets that one pass measures.
 * @param calibrated - sets for statistics of their halves
 * @param fitted - sets for moments; one that is calibrated as well has the first of those windows, or all of them and
 *   more
 * @throws GpruneError BAD_ARGUMENT for two sets of one name, a fitted set without tokens or weight, or one whose
 *   windows differ from the calibrated ones
 */
export function measuredSets(
  calibrated: readonly TokenSet[],
  fitted: readonly WeightedTokenSet[],
): readonly MeasuredSet[] {
  for (const list of [calibrated, fitted]) requireOwnNames("calibration sets", list);
  const sets = new Map(calibrated.map((set) => [set.name, withHalves(set)]));
  const total = fitted.reduce((sum, { weight }) => sum + weight, 0);
  for (const set of fitted) {
    const { name, weight, windows } = set;
    requireCounting(set);
    const { windows: common, owners = [] } = sets.get(name) ?? { windows: [] };
    requireSameBeginning(name, common, windows);
    sets.set(name, {
      name,
      windows: windows.length > common.length ? windows : common,
      owners: [...owners, ...windows.slice(common.length).map(() => null)],
      moments: { windows: windows.length, tokenWeight: weight / total / tokensOf(windows) },
    });
  }
  return [...sets.values()];
}

function withHalves(set: TokenSet): MeasuredSet {
  const { name, windows } = set;
  const halves = halvesOf(set);
  return { name, windows, owners: windows.map((_, index) => halves[index % 2]!.name) };
}

/** @throws GpruneError BAD_ARGUMENT when one list of windows is not the beginning of the other */
function requireSameBeginning(
  name: string,
  calibrated: readonly Int32Array[],
  fitted: readonly Int32Array[],
): void {
  const count = Math.min(calibrated.length, fitted.length);
  for (let index = 0; index < count; index++) {
    const [a, b] = [calibrated[index]!, fitted[index]!];
    if (a === b || (a.length === b.length && a.every((id, t) => id === b[t]))) continue;
    const expected = "the same windows for statistics and for least squares";
    throw badArgument(
      `windows of ${calibrationSetText({ name })}`,
      expected,
      `different ones from window ${index + 1} on`,
    );
  }
}

/** @throws GpruneError BAD_ARGUMENT for a set without tokens or without weight */
export function requireCounting({ name, weight, windows }: WeightedTokenSet): void {
  const set = calibrationSetText({ name });
  if (tokensOf(windows) === 0) throw badArgument(set, "at least one token", 0);
  requirePositive(`weight of ${set}`, weight);
}
