/**
 * Few-shot prompts: solved questions before each question, as lm-evaluation-harness writes them, an empty line between two.
 *
 * All questions get the same ones, drawn by the seed, so that the prompt is computed once for many questions; a question
 * among them gets one more drawn in its own place. What makes it that question are its words, wherever they stand. (The harness
 * draws anew for every question unless its `fewshot_config` names a sampler.)
 */
import { chooseWindows } from "../calibrate/windows.ts";
import { GpruneError } from "../errors.ts";
import type { TaskDocument } from "./task_layouts.ts";

export interface FewShot {
  /** Solved questions before each one. */
  readonly count: number;
  readonly seed: number;
  /** The task's name; the draw depends on it. */
  readonly name: string;
  /** Where they come from; may contain the documents. */
  readonly pool: readonly TaskDocument[];
}

/**
 * Documents whose contexts begin with the task's description and solved questions.
 * @throws GpruneError BAD_TEXT when the pool is too small
 */
export function withShots(
  documents: readonly TaskDocument[],
  { count, seed, name, pool }: FewShot,
): readonly TaskDocument[] {
  const different = [...new Set(pool.map(solved))];
  const drawn = chooseWindows(different, count + 1, { seed, label: `few-shot ${name}` });
  return documents.map((document) => {
    const own = solved(document);
    const shots = drawn.filter((shot) => shot !== own).slice(0, count);
    if (shots.length < count) throw tooFew(name, count, different.length);
    const prompt = [document.description ?? "", ...shots].join("");
    const candidates = document.candidates.map((candidate) => ({
      ...candidate,
      context: prompt + candidate.context,
    }));
    return { ...document, candidates };
  });
}

function solved({ candidates, gold }: TaskDocument): string {
  const { context, continuation } = candidates[gold]!;
  return `${context}${continuation}\n\n`;
}

function tooFew(name: string, count: number, available: number): GpruneError {
  const expected = `more than ${count} questions to show ${count} before each`;
  return new GpruneError("BAD_TEXT", `task ${name}: expected ${expected}, got ${available} different ones`, {
    hint: "Ask for fewer with --num-fewshot, or name a larger file with --fewshot.",
  });
}
