/** Suggestions for misspelt words. */

/** Most letters that may be wrong: as a share of the word, and in all. */
const SHARE_WRONG = 0.4;
const MAX_WRONG = 3;

/**
 * `Did you mean seqLen?`: the first word that begins with the given one, else the one that is most like it; case,
 * hyphens and underscores do not count.
 * @returns undefined where none is like it
 */
export function meantHint(given: string, words: readonly string[]): string | undefined {
  const letters = lettersOf(given);
  if (letters === "") return undefined;
  const meant = words.find((word) => lettersOf(word).startsWith(letters)) ?? mostSimilar(letters, words);
  return meant === undefined ? undefined : `Did you mean ${meant}?`;
}

function mostSimilar(letters: string, words: readonly string[]): string | undefined {
  const near = words
    .map((word) => ({ word, distance: editDistance(letters, lettersOf(word)) }))
    .filter(({ distance }) => distance <= Math.min(MAX_WRONG, SHARE_WRONG * letters.length));
  return near.sort((a, b) => a.distance - b.distance)[0]?.word;
}

function lettersOf(word: string): string {
  return word.toLowerCase().replaceAll(/[-_]/g, "");
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
