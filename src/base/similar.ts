/** Suggestions for misspelt words. */

/** Most letters that may be wrong: as a share of the word, and in all. */
const SHARE_WRONG = 0.4;
const MOST_WRONG = 3;

/** The nearest of `words` to a misspelt one, whatever the case of letters; undefined where none is near. */
export function mostSimilar(word: string, words: readonly string[]): string | undefined {
  const near = words
    .map((candidate) => ({ candidate, distance: editDistance(word.toLowerCase(), candidate.toLowerCase()) }))
    .filter(({ distance }) => distance <= Math.min(MOST_WRONG, SHARE_WRONG * word.length));
  return near.sort((a, b) => a.distance - b.distance)[0]?.candidate;
}

/** Letters to insert, delete or replace to turn one word into another (Levenshtein). */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
