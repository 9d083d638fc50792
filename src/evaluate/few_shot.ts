/**
 * Few-shot prompting: puts solved questions (shots) before each question of a task.
 *
 * All questions get the same shots, drawn by the seed, so that their prompt is computed once for many questions. A
 * question that is among the shots, by its text, gets the next drawn one instead. Drawn shots have different texts;
 * with `first_n` they may repeat. (lm-evaluation-harness draws anew for every question unless `fewshot_config` names a
 * sampler, of which `first_n` is supported here, and skips a shot only where it is the same record of the same split.)
 */
import { chooseWindows } from "../calibrate/windows.ts";
import { GpruneError } from "../errors.ts";
import { type Candidate, solvedText, type TaskDocument } from "./task_documents.ts";

/** The choice of a task's shots: how many, from which pool and by which seed. */
export interface FewShot {
  /** Shots before each question. */
  readonly count: number;
  readonly seed: number;
  /** The task's name, on which the draw depends. */
  readonly name: string;
  /** Questions that shots are drawn from; may contain the task's own. */
  readonly pool: readonly TaskDocument[];
}

/** A question and its shots. */
export interface ShotDocument extends TaskDocument {
  readonly solved: readonly Candidate[];
}

/**
 * Adds shots to every document.
 * @throws GpruneError BAD_TEXT when the pool is too small
 */
export function withShots(
  documents: readonly TaskDocument[],
  { count, seed, name, pool }: FewShot,
): readonly ShotDocument[] {
  const shots = pool.map((document) => ({ text: shotText(document), solved: goldCandidate(document) }));
  const different = [...new Map(shots.map((shot) => [shot.text, shot])).values()];
  const drawn = documents[0]?.firstShots
    ? shots
    : chooseWindows(different, count + 1, { seed, label: `few-shot ${name}` });
  return documents.map((document) => {
    const documentText = shotText(document);
    const solved: Candidate[] = [];
    for (let i = 0; i < drawn.length && solved.length < count; i++) {
      if (drawn[i]!.text !== documentText) solved.push(drawn[i]!.solved);
    }
    if (solved.length < count) throw tooFew(name, count, different.length);
    return { ...document, solved };
  });
}

function goldCandidate({ candidates, gold }: TaskDocument): Candidate {
  return candidates[gold]!;
}

function shotText(document: TaskDocument): string {
  return solvedText(goldCandidate(document));
}

function tooFew(name: string, count: number, available: number): GpruneError {
  const expected = `more than ${count} questions for ${count} few-shot examples`;
  return new GpruneError("BAD_TEXT", `task ${name}: expected ${expected}, got ${available} different ones`, {
    hint: "Use fewer examples (--num-fewshot) or a larger file of examples (--fewshot).",
  });
}
