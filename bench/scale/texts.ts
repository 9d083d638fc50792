/** Texts for synthetic models: the starts of five of the demo's texts, with a given number of windows each. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Tokenizer } from "../../src/model/tokenizer/tokenizer.ts";

const TEXTS = join(import.meta.dirname, "..", "..", "demo", "texts", "calibration");
const SETS = ["almanac", "code", "records", "stories", "tongue"];

/** Size of the texts, and where they go. */
export interface TextSize {
  /** Directory for the texts. */
  readonly data: string;
  /** Windows of every set. */
  readonly windows: number;
  /** Tokens of a window. */
  readonly seqLen: number;
}

/** Writes the texts. @returns `NAME=PATH` for each */
export async function writeTexts(
  model: string,
  { data, windows, seqLen }: TextSize,
): Promise<readonly string[]> {
  const files = [{ name: "tokenizer.json", bytes: await readFile(join(model, "tokenizer.json")) }];
  const tokenizer = Tokenizer.fromFiles(files);
  const directory = join(data, `texts-${windows}x${seqLen}`);
  await mkdir(directory, { recursive: true });
  return Promise.all(
    SETS.map(async (name) => {
      const path = join(directory, `${name}.txt`);
      const text = await readFile(join(TEXTS, `${name}.txt`), "utf8");
      await writeFile(path, text.slice(0, shortest(text, tokenizer, windows * seqLen)));
      return `${name}=${path}`;
    }),
  );
}

/** Length of the shortest prefix of a text with at least `tokens` tokens. */
function shortest(text: string, tokenizer: Tokenizer, tokens: number): number {
  let [low, high] = [0, text.length];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (tokenizer.encode(text.slice(0, middle)).length < tokens) low = middle + 1;
    else high = middle;
  }
  return low;
}
