/**
 * What the client programs have in common. A program is called with two paths: a list of cases, and a file that gets
 * one line of JSON for every case as soon as it is done, so that a program that dies says how far it came. It knows
 * nothing of what other programs answered. run_transformers.py and run_vllm.py are two, in Python.
 */
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";

/** What a program is asked. */
export interface Case {
  readonly id: string;
  /** A file or a directory in the client's format. */
  readonly path: string;
  readonly ids: readonly number[];
  /** How many tokens are to follow. */
  readonly tokens: number;
  /** To be cut into tokens; null where there is no tokenizer. */
  readonly text: string | null;
  /** File for the logits of all `ids`, float32 [T, V]; null when they are not wanted. */
  readonly logits: string | null;
  /** The weights are float32, and so shall be all arithmetic. */
  readonly exact: boolean;
  /** The directory brings code for transformers. */
  readonly remoteCode: boolean;
  /** vLLM is to build the model from transformers' classes, since its own computes something else. */
  readonly stockBackend: boolean;
  /** Threads of one operator; null for what the client chooses. */
  readonly threads: number | null;
}

/** The most probable token after `ids`, and after that one, and so on. */
export interface Continuation {
  readonly generated: readonly number[];
  /** Until the first token was known. */
  readonly promptSeconds: number;
  /** For all others. */
  readonly decodeSeconds: number;
}

/** What a program answers. */
export interface Answer extends Continuation {
  readonly id: string;
  /** Ids of the text without special tokens; null when there was none, or when the client cuts no texts. */
  readonly tokenized: readonly number[] | null;
  /** What else was wrong, a sentence each. */
  readonly problems: readonly string[];
}

/** A line of the file of answers: an answer, what kept a case from one, or why no case can be done on this machine. */
export type Line =
  | Answer
  | { readonly id: string; readonly error: string }
  | { readonly unavailable: string };

/** A model that a client has loaded. */
export interface LoadedModel {
  tokenize(text: string): Iterable<number> | null;
  /** [T, V] */
  logits(ids: readonly number[]): Promise<Float32Array>;
  /** Forgets what was before. */
  generate(ids: readonly number[], tokens: number): Promise<Continuation>;
  /** What only this client can find wrong. */
  problems?(generated: readonly number[]): Promise<readonly string[]>;
  close(): Promise<unknown>;
}

export interface ProgramOptions {
  /** Whether an error of `open` means that the client does not run on this machine. */
  readonly isUnavailable?: (error: unknown) => boolean;
}

/** Answers every case of the list. */
export async function answerCases(
  open: (asked: Case) => Promise<LoadedModel>,
  { isUnavailable = () => false }: ProgramOptions = {},
): Promise<void> {
  const [list, answers] = process.argv.slice(2) as [string, string];
  const write = (line: Line): void => appendFileSync(answers, `${JSON.stringify(line)}\n`);
  for (const asked of JSON.parse(readFileSync(list, "utf8")) as readonly Case[]) {
    try {
      write(await answer(open, asked));
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (isUnavailable(error)) return write({ unavailable: message });
      write({ id: asked.id, error: message });
    }
  }
}

async function answer(open: (asked: Case) => Promise<LoadedModel>, asked: Case): Promise<Answer> {
  const { id, ids, tokens, text, logits } = asked;
  const model = await open(asked);
  try {
    const cut = text === null ? null : model.tokenize(text);
    const tokenized = cut === null ? null : Array.from(cut, Number);
    // Either way the model has run once before the clock starts.
    if (logits === null) await model.generate(ids, 2);
    else writeFileSync(logits, bytesOf(await model.logits(ids)));
    const run = await model.generate(ids, tokens);
    return { id, tokenized, ...run, problems: (await model.problems?.(run.generated)) ?? [] };
  } finally {
    await model.close();
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/**
 * Continues step by step, and takes the time.
 * @param step - sends ids through the model and gives the most probable token after the last one
 */
export async function greedy(
  step: (ids: readonly number[]) => Promise<number>,
  ids: readonly number[],
  tokens: number,
): Promise<Continuation> {
  const start = performance.now();
  let next = await step(ids);
  const first = performance.now();
  const generated = [next];
  while (generated.length < tokens) {
    next = await step([next]);
    generated.push(next);
  }
  const end = performance.now();
  return { generated, promptSeconds: (first - start) / 1000, decodeSeconds: (end - first) / 1000 };
}

/** Place of the largest number; the first of equals. */
export function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}
