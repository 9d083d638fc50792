/** What is measured of the windows of calibration sets in one pass: statistics of halves of some, moments over some. */
import { badArgument, requireOwnNames, requirePositive } from "../base/arguments.ts";
import { tokensOf } from "../graph/decoder/forward.ts";
import type { MeasuredSet, TokenSet, WeightedTokenSet } from "./calibrate.ts";

/** A part of a set. */
export interface HalfSet extends TokenSet {
  /** Indices of its windows among those of the set. */
  readonly places: readonly number[];
}

/** Even and odd windows as two sets; one set when there is a single window. */
export function halvesOf({ name, windows }: TokenSet): readonly HalfSet[] {
  const all = [...windows.keys()];
  const halves = all.length < 2 ? [all] : [0, 1].map((rest) => all.filter((place) => place % 2 === rest));
  return halves.map((places, half) => {
    const own = places.map((place) => windows[place]!);
    return { name: `${name}/${half + 1}`, partOf: name, windows: own, places };
  });
}

/**
 * The windows that one pass is to measure.
 * @param known - sets whose halves statistics are wanted of
 * @param fitted - sets that moments are wanted over; of a set that is among the others as well, the first ones of its
 *   windows, or all of them and more
 * @throws GpruneError BAD_ARGUMENT for two sets of one name, a fitted set without tokens or weight, or with other
 *   windows than it has among the others
 */
export function measuredSets(
  known: readonly TokenSet[],
  fitted: readonly WeightedTokenSet[],
): readonly MeasuredSet[] {
  for (const named of [known, fitted]) requireOwnNames("calibration sets", named);
  const sets = new Map(known.map((set) => [set.name, withHalves(set)]));
  const total = fitted.reduce((sum, { weight }) => sum + weight, 0);
  for (const set of fitted) {
    const { name, weight, windows } = set;
    requireCounting(set);
    const { windows: seen, owners = [] } = sets.get(name) ?? { windows: [] };
    requireSameBeginning(name, seen, windows);
    sets.set(name, {
      name,
      windows: windows.length > seen.length ? windows : seen,
      owners: [...owners, ...windows.slice(seen.length).map(() => null)],
      moments: { windows: windows.length, tokenWeight: weight / total / tokensOf(windows) },
    });
  }
  return [...sets.values()];
}

function withHalves(set: TokenSet): MeasuredSet {
  const { name, windows } = set;
  const owners = new Array<string | null>(windows.length).fill(null);
  for (const half of halvesOf(set)) for (const place of half.places) owners[place] = half.name;
  return { name, windows, owners };
}

/** @throws GpruneError BAD_ARGUMENT */
function requireSameBeginning(
  name: string,
  seen: readonly Int32Array[],
  fitted: readonly Int32Array[],
): void {
  const count = Math.min(seen.length, fitted.length);
  for (let place = 0; place < count; place++) {
    const [own, other] = [seen[place]!, fitted[place]!];
    if (own === other || (own.length === other.length && own.every((id, t) => id === other[t]))) continue;
    const expected = "the same for statistics and for least squares";
    throw badArgument(`windows of calibration set ${name}`, expected, `others from window ${place + 1} on`);
  }
}

/** @throws GpruneError BAD_ARGUMENT for a set without tokens or without weight */
export function requireCounting({ name, weight, windows }: WeightedTokenSet): void {
  if (tokensOf(windows) === 0) throw badArgument(`calibration set ${name}`, "at least one token", 0);
  requirePositive(`weight of calibration set ${name}`, weight);
}
