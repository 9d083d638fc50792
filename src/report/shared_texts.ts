/** Which held-out texts several runs were measured on alike, so that their numbers can be compared. */
import { type Facts, isSamePath } from "./facts.ts";

/** Relative difference of two perplexities of one model on one text, computed on other machines. */
const SAME = 1e-3;

/**
 * Names of the held-out texts that are the same in all runs. Runs keep no text, so it is told by what they say of it: its name,
 * its windows, and the dense model's perplexity; of other dense models, which need not agree, the path instead.
 */
export function sharedHeldOut(runs: readonly Facts[]): readonly string[] {
  const [first, ...others] = runs;
  if (first === undefined) return [];
  return first.heldOut.flatMap(({ name }) =>
    others.every((other) => isSameText(name, first, other)) ? [name] : [],
  );
}

function isSameText(name: string, a: Facts, b: Facts): boolean {
  const [one, other] = [a, b].map(({ record }) => record.held_out.find((text) => text.name === name));
  if (one === undefined || other === undefined || one.windows !== other.windows) return false;
  if (isSamePath(a.record.base, b.record.base)) return Math.abs(one.dense / other.dense - 1) <= SAME;
  const [path, otherPath] = [a, b].map(({ record }) => {
    return record.calibration.find((set) => set.name === name)?.path;
  });
  return path !== undefined && otherPath !== undefined && isSamePath(path, otherPath);
}
