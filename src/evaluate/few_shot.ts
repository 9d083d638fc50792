/**
 * Few-shot questions: solved ones that come before each.
 *
 * All questions get the same ones, drawn by the seed, so that the prompt is computed once for many questions; a
 * question among them gets one more, behind the others. What makes it that question are its words, wherever they stand.
 * No two that are drawn have the same words; the first ones may. (The harness draws anew for every question unless its
 * `fewshot_config` names a sampler, of which `first_n` is known here, and leaves a question out where it is the same
 * record of the same split.)
 */
import { chooseWindows } from "../calibrate/windows.ts";
import { GpruneError } from "../errors.ts";
import { type Candidate, solvedText, type TaskDocument } from "./task_layouts.ts";

/** Which solved questions come before each question of a task: drawn from a pool by the seed, the same for all. */
export interface FewShot {
  /** Solved questions before each one. */
  readonly count: number;
  readonly seed: number;
  /** The task's name; the draw depends on it. */
  readonly name: string;
  /** Where they come from; may contain the documents. */
  readonly pool: readonly TaskDocument[];
}

/** A question and the solved ones that it comes after. */
export interface ShotDocument extends TaskDocument {
  readonly solved: readonly Candidate[];
}

/**
 * Documents with their solved questions.
 * @throws GpruneError BAD_TEXT when the pool is too small
 */
export function withShots(
  documents: readonly TaskDocument[],
  { count, seed, name, pool }: FewShot,
): readonly ShotDocument[] {
  const shots = pool.map((document) => ({ words: wordsOf(document), solved: solvedOf(document) }));
  const different = [...new Map(shots.map((shot) => [shot.words, shot])).values()];
  const drawn = documents[0]?.firstShots
    ? shots
    : chooseWindows(different, count + 1, { seed, label: `few-shot ${name}` });
  return documents.map((document) => {
    const own = wordsOf(document);
    const solved: Candidate[] = [];
    for (let i = 0; i < drawn.length && solved.length < count; i++) {
      if (drawn[i]!.words !== own) solved.push(drawn[i]!.solved);
    }
    if (solved.length < count) throw tooFew(name, count, different.length);
    return { ...document, solved };
  });
}

function solvedOf({ candidates, gold }: TaskDocument): Candidate {
  return candidates[gold]!;
}

function wordsOf(document: TaskDocument): string {
  return solvedText(solvedOf(document));
}

function tooFew(name: string, count: number, available: number): GpruneError {
  const expected = `more than ${count} questions to show ${count} before each`;
  return new GpruneError("BAD_TEXT", `task ${name}: expected ${expected}, got ${available} different ones`, {
    hint: "Ask for fewer with --num-fewshot, or name a larger file with --fewshot.",
  });
}
