/** Windows of random token ids. */
import { randomStream } from "../src/tensor/random.ts";

/** One window per length, ids below `vocabSize`. */
export function randomWindows(
  lengths: readonly number[],
  { vocabSize = 16, seed = 0 }: { readonly vocabSize?: number; readonly seed?: number } = {},
): readonly Int32Array[] {
  const random = randomStream(seed, "windows");
  return lengths.map((length) => Int32Array.from({ length }, () => Math.floor(random() * vocabSize)));
}
