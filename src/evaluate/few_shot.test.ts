import { describe, expect, test } from "vitest";
import { type ShotDocument, withShots } from "./few_shot.ts";
import { asTexts } from "./prompts.ts";
import type { TaskDocument } from "./task_documents.ts";
import { candidate } from "./task_documents.ts";

const POOL = Array.from({ length: 6 }, (_, i): TaskDocument => {
  const candidates = ["no", "yes"].map((answer) => candidate(`Q${i}?`, answer));
  return { where: `line ${i}`, gold: i % 2, candidates };
});
const SETTINGS = { count: 2, seed: 0, name: "t", pool: POOL };

function contexts(documents: readonly ShotDocument[]): readonly string[] {
  return asTexts(documents).map(({ candidates }) => candidates[0]!.context);
}

describe("withShots", () => {
  test("puts the same solved questions before all but themselves", () => {
    const prompts = contexts(withShots(POOL, SETTINGS));
    for (const [i, prompt] of prompts.entries()) {
      expect(prompt).toMatch(/^(Q\d\? (no|yes)\n\n){2}Q\d\?$/);
      expect(prompt.match(/Q\d/g)!.filter((name) => name === `Q${i}`)).toHaveLength(1);
      for (const [, number, answer] of prompt.matchAll(/Q(\d)\? (no|yes)/g)) {
        expect(answer).toBe(Number(number) % 2 === 0 ? "no" : "yes");
      }
    }
    const beginnings = prompts.map((prompt) => prompt.slice(0, prompt.lastIndexOf("Q")));
    expect(new Set(beginnings).size).toBeLessThanOrEqual(3);
  });

  test("draws by seed and name", () => {
    const of = (change: object): string => contexts(withShots(POOL, { ...SETTINGS, ...change })).join("|");
    expect(of({})).toBe(of({}));
    const draws = Array.from({ length: 8 }, (_, seed) => of({ seed }));
    expect(new Set(draws).size).toBeGreaterThan(1);
  });

  test("takes the first ones where the task says so", () => {
    const documents = POOL.map((document) => ({ ...document, firstShots: true }));
    const prompts = contexts(withShots(documents, SETTINGS));
    expect(prompts[5]).toBe("Q0? no\n\nQ1? yes\n\nQ5?");
    expect(prompts[0]).toBe("Q1? yes\n\nQ2? no\n\nQ0?");
  });

  test("takes the first ones as they are, with equal ones among them, but the question itself", () => {
    const documents = POOL.map((document) => ({ ...document, firstShots: true }));
    const pool = [POOL[0]!, POOL[0]!, ...POOL];
    const prompts = contexts(withShots(documents, { ...SETTINGS, count: 3, pool }));
    expect(prompts[5]).toBe("Q0? no\n\nQ0? no\n\nQ0? no\n\nQ5?");
    expect(prompts[0]).toBe("Q1? yes\n\nQ2? no\n\nQ3? yes\n\nQ0?");
    expect(prompts[1]).toBe("Q0? no\n\nQ0? no\n\nQ0? no\n\nQ1?");
    expect(() => withShots(documents, { ...SETTINGS, count: 3, pool: pool.slice(0, 3) })).toThrow(
      "task t: expected more than 3 questions for 3 few-shot examples, got 1 different ones",
    );
  });

  test("puts what stands before the answers of solved questions alone", () => {
    const documents = POOL.map(({ candidates, ...document }) => ({
      ...document,
      candidates: candidates.map((each) => ({ ...each, solvedDelimiter: ": " })),
    }));
    const [first] = asTexts(withShots(documents, { ...SETTINGS, pool: documents }));
    expect(first!.candidates[0]).toMatchObject({
      context: expect.stringMatching(/^(Q\d\?: (no|yes)\n\n){2}Q0\?$/),
      delimiter: " ",
    });
  });

  test("puts the description first and once", () => {
    const described = POOL.map((document) => ({ ...document, description: "Answer.\n" }));
    expect(contexts(withShots(described, { ...SETTINGS, pool: described }))[0]).toMatch(
      /^Answer\.\nQ\d\? (no|yes)\n\nQ\d\? (no|yes)\n\nQ0\?$/,
    );
    expect(contexts(withShots(described, { ...SETTINGS, count: 0 }))[0]).toBe("Answer.\nQ0?");
  });

  test("never shows a question its own answer, whatever its place is called", () => {
    const pool = POOL.map((document, i) => ({ ...document, where: `./line ${i}` }));
    for (const [i, prompt] of contexts(withShots(POOL, { ...SETTINGS, count: 5, pool })).entries()) {
      expect(prompt.match(/Q\d/g)!.filter((each) => each === `Q${i}`)).toHaveLength(1);
    }
    const twice = POOL.flatMap((document) => [document, { ...document, where: `${document.where} again` }]);
    for (const prompt of contexts(withShots(POOL, { ...SETTINGS, count: 5, pool: twice }))) {
      expect(new Set(prompt.match(/Q\d/g)!).size).toBe(6);
    }
  });

  test("refuses a pool that is too small", () => {
    expect(() => withShots(POOL, { ...SETTINGS, count: 6 })).toThrow(
      "task t: expected more than 6 questions for 6 few-shot examples, got 6 different ones",
    );
    expect(withShots(POOL.slice(0, 1), { ...SETTINGS, count: 5 })).toHaveLength(1);
  });
});
