/** What it means that a client computes what we compute. */
import { type Answer, argmax } from "./program.ts";

/** Largest difference of two float32 logits that is no fault. */
const TOLERANCE = 2e-3;
/** Share of places where a client that rounds differently has to have the same most probable token. */
const LEAST_AGREEMENT = 0.25;

/** What was computed for a prompt of T tokens. */
export interface Computed {
  readonly answer: Pick<Answer, "generated" | "tokenized" | "problems">;
  /** [T, V] */
  readonly logits: Float32Array;
}

export interface Comparison {
  /** Largest difference of two logits; NaN when there is one among them. */
  readonly difference: number;
  /** Share of the prompt's places with the same most probable token, 0 to 1. */
  readonly sameFirst: number;
  readonly sameGreedy: boolean;
  /** What is wrong, a sentence each. */
  readonly problems: readonly string[];
}

export interface CompareOptions {
  /** T */
  readonly places: number;
  /** The client computes the same in float32. */
  readonly exact: boolean;
}

/**
 * Holds a client's computation against ours. When it is `exact`, logits agree within 2e-3 and all greedy tokens do;
 * else the most probable token is the same in a quarter of the places, as four bits reach with room to spare and wrong
 * weights do not. Texts are cut into the same tokens either way.
 */
export function compare(ours: Computed, theirs: Computed, { places, exact }: CompareOptions): Comparison {
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
    // NaN is no difference that may be.
    [exact && !(difference <= TOLERANCE), `logits differ by more than ${TOLERANCE}`],
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
