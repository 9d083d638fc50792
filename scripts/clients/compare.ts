/** Comparison of a client's logits and tokens with those of gprune. */
import { type Answer, argmax } from "./program.ts";

/** Largest accepted difference of two float32 logits where no other is given. */
const TOLERANCE = 2e-3;
/** Least share of positions with the same most probable token, for a client that rounds differently. */
const LEAST_AGREEMENT = 0.25;

/** Results for a prompt of T tokens. */
export interface Computed {
  readonly answer: Pick<Answer, "generated" | "tokenized" | "problems">;
  /** [T, V] */
  readonly logits: Float32Array;
}

/** Outcome of a comparison. */
export interface Comparison {
  /** Largest difference of two logits; NaN when one of them is. */
  readonly difference: number;
  /** Share of the prompt's positions with the same most probable token, 0 to 1. */
  readonly sameFirst: number;
  readonly sameGreedy: boolean;
  /** Failed checks, one sentence each. */
  readonly problems: readonly string[];
}

export interface CompareOptions {
  /** T */
  readonly places: number;
  /** Whether the client computes the same in float32. */
  readonly exact: boolean;
  /** Largest accepted difference of two float32 logits; 2e-3 where absent. */
  readonly tolerance?: number | undefined;
}

/**
 * Checks a client's results against ours. If it is `exact`, logits must agree within the tolerance, and all greedy
 * tokens; else the most probable token must be the same in a quarter of the positions, which four-bit weights reach
 * easily and wrong weights do not. Tokens of texts must be the same either way.
 */
export function compare(
  ours: Computed,
  theirs: Computed,
  { places, exact, tolerance = TOLERANCE }: CompareOptions,
): Comparison {
  const { length } = ours.logits;
  if (theirs.logits.length !== length) {
    const problem = `expected ${length} logits, got ${theirs.logits.length}`;
    return { difference: Number.NaN, sameFirst: 0, sameGreedy: false, problems: [problem] };
  }
  const difference = largestDifference(ours.logits, theirs.logits);
  const sameFirst = agreement(ours.logits, theirs.logits, places);
  const sameGreedy = sameNumbers(ours.answer.generated, theirs.answer.generated);
  const { tokenized, problems } = theirs.answer;
  const checks: readonly (readonly [boolean, string])[] = [
    // Written so that NaN fails.
    [exact && !(difference <= tolerance), `logits differ by more than ${tolerance}`],
    [exact && !sameGreedy, "greedy tokens differ"],
    [sameFirst < LEAST_AGREEMENT, `the first token agrees in less than ${LEAST_AGREEMENT * 100} % of places`],
    [tokenized !== null && !sameNumbers(ours.answer.tokenized, tokenized), "cuts the text into other tokens"],
  ];
  const wrong = checks.filter(([fails]) => fails).map(([, problem]) => problem);
  return { difference, sameFirst, sameGreedy, problems: [...wrong, ...problems] };
}

function largestDifference(ours: Float32Array, theirs: Float32Array): number {
  let largest = 0;
  for (let i = 0; i < ours.length; i++) {
    const difference = Math.abs(ours[i]! - theirs[i]!);
    if (Number.isNaN(difference)) return Number.NaN;
    if (difference > largest) largest = difference;
  }
  return largest;
}

function agreement(ours: Float32Array, theirs: Float32Array, places: number): number {
  const vocabulary = ours.length / places;
  const first = (logits: Float32Array, place: number): number =>
    argmax(logits.subarray(place * vocabulary, (place + 1) * vocabulary));
  let same = 0;
  for (let place = 0; place < places; place++) if (first(ours, place) === first(theirs, place)) same += 1;
  return same / places;
}

function sameNumbers(ours: readonly number[] | null, theirs: readonly number[] | null): boolean {
  return JSON.stringify(ours) === JSON.stringify(theirs);
}
