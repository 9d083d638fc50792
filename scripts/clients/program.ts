/**
 * Common parts of the client programs. A program gets two paths: of a list of cases, and of a file to which it adds one
 * line of JSON for every case as soon as it is done, so that the results of a program that dies are not lost. It knows
 * nothing of other programs' results. run_transformers.py and run_vllm.py are client programs in Python.
 */
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";

/** A model and a prompt for a program. */
export interface Case {
  readonly id: string;
  /** A file or a directory in the client's format. */
  readonly path: string;
  readonly ids: readonly number[];
  /** Number of tokens to generate. */
  readonly tokens: number;
  /** Text to tokenise; null when the model has no tokenizer. */
  readonly text: string | null;
  /** File for the logits of all `ids`, float32 [T, V]; null when they are not wanted. */
  readonly logits: string | null;
  /** Whether the weights are float32, and all arithmetic has to be. */
  readonly exact: boolean;
  /** Whether the directory has code for transformers. */
  readonly remoteCode: boolean;
  /** Whether vLLM has to use transformers' implementation, since its own computes something else. */
  readonly stockBackend: boolean;
  /** Threads of one operator; null for the client's default. */
  readonly threads: number | null;
}

/** A greedy continuation of `ids`. */
export interface Continuation {
  readonly generated: readonly number[];
  /** Seconds until the first token. */
  readonly promptSeconds: number;
  /** Seconds for all other tokens. */
  readonly decodeSeconds: number;
}

/** Results of a program for a case. */
export interface Answer extends Continuation {
  readonly id: string;
  /** Ids of the text without special tokens; null when there was none, or the client has no tokenizer. */
  readonly tokenized: readonly number[] | null;
  /** Other failures, one sentence each. */
  readonly problems: readonly string[];
}

/** A line of the file of answers: an answer, the error of a case, or why the client cannot run on this machine. */
export type Line =
  | Answer
  | { readonly id: string; readonly error: string }
  | { readonly unavailable: string };

/** A model that a client has loaded. */
export interface LoadedModel {
  tokenize(text: string): Iterable<number> | null;
  /** [T, V] */
  logits(ids: readonly number[]): Promise<Float32Array>;
  /** Starts from an empty cache. */
  generate(ids: readonly number[], tokens: number): Promise<Continuation>;
  /** Failures of checks that only this client has. */
  problems?(generated: readonly number[]): Promise<readonly string[]>;
  close(): Promise<unknown>;
}

/** Options of {@link answerCases}. */
export interface ProgramOptions {
  /** Whether an error of `open` means that the client does not run on this machine. */
  readonly isUnavailable?: (error: unknown) => boolean;
}

/** Answers every case of the list. */
export async function answerCases(
  open: (request: Case) => Promise<LoadedModel>,
  { isUnavailable = () => false }: ProgramOptions = {},
): Promise<void> {
  const [list, answers] = process.argv.slice(2) as [string, string];
  const write = (line: Line): void => appendFileSync(answers, `${JSON.stringify(line)}\n`);
  for (const request of JSON.parse(readFileSync(list, "utf8")) as readonly Case[]) {
    try {
      write(await answer(open, request));
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (isUnavailable(error)) return write({ unavailable: message });
      write({ id: request.id, error: message });
    }
  }
}

async function answer(open: (request: Case) => Promise<LoadedModel>, request: Case): Promise<Answer> {
  const { id, ids, tokens, text, logits } = request;
  const model = await open(request);
  try {
    const textIds = text === null ? null : model.tokenize(text);
    const tokenized = textIds === null ? null : Array.from(textIds, Number);
    // Either way the model runs once before the clock starts.
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
 * Generates greedily step by step, and measures the time.
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

/** Index of the largest value; the first of equals. */
export function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}
