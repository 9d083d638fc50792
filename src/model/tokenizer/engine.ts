/**
 * An interface to @huggingface/tokenizers, and its only importer. The library runs in this process or, for tokenizers
 * with unknown regular expressions, in a thread that can be ended.
 */
import { createRequire } from "node:module";
import { MessageChannel, receiveMessageOnPort, Worker } from "node:worker_threads";
import { Tokenizer as LibraryTokenizer } from "@huggingface/tokenizers";
import { GpruneError, reasonOf } from "../../errors.ts";

/** Token ids of a text and the part of the text that each stands for. */
export interface Pieces {
  readonly ids: readonly number[];
  readonly pieces: readonly string[];
}

/** What does not depend on texts to encode. */
interface Vocabulary {
  decode(ids: readonly number[]): string;
  idOf(token: string): number | undefined;
  readonly largestId: number;
  /** Ids of the tokens that belong around every text. */
  readonly around: readonly number[];
}

/** A tokenizer with all corrections. */
export interface TokenizerEngine extends Vocabulary {
  /** Ids of a text, without those around it. */
  encode(text: string): readonly number[];
}

/** A tokenizer for texts without added tokens. */
export interface SectionEngine extends Vocabulary {
  /** A text after normalisation. */
  normalized(text: string): string;
  /** Ids of a part of a normalised text. @param isStart - whether it is the first */
  encodeSection(section: string, isStart: boolean): readonly number[];
}

/** The library's tokenizer. */
export interface LibraryEngine extends SectionEngine {
  /** As `encodeSection`, with the part of the text that each id stands for. */
  encodePieces(section: string, isStart: boolean): Pieces;
}

/** Parts of tokenizer.json and tokenizer_config.json, checked. */
export interface EngineFiles {
  readonly json: object;
  readonly config: object;
}

/** Runs in this process: for tokenizers whose every step is known. */
export function directEngine({ json, config }: EngineFiles): LibraryEngine {
  const library = attempt(() => new LibraryTokenizer(json, config));
  const { normalizer, pre_tokenizer: words, model } = library;
  const encodePieces = (section: string, isStart: boolean): Pieces =>
    attempt(() => {
      const pieces: string[] = model!(words?.(section, { section_index: isStart ? 0 : 1 }) ?? [section]);
      return { ids: pieces.map((piece) => model!.tokens_to_ids.get(piece) ?? model!.unk_token_id!), pieces };
    });
  return {
    normalized: (text) => attempt(() => normalizer?.(text) ?? text),
    encodeSection: (...request) => encodePieces(...request).ids,
    encodePieces,
    decode: (ids) => attempt(() => library.decode([...ids], { clean_up_tokenization_spaces: false })),
    idOf: (token) => library.token_to_id(token),
    largestId: largest(library.get_vocab().values()),
    around: attempt(() => library.encode("")).ids,
  };
}

/** Reports any error of the library as an unknown tokenizer: it checks little beforehand. */
function attempt<T>(run: () => T): T {
  try {
    return run();
  } catch (cause) {
    throw unknownTokenizer(cause);
  }
}

/** The error for a tokenizer.json that the library fails at. @param cause - its error, or the message of that */
export function unknownTokenizer(cause: unknown): GpruneError {
  const message = `tokenizer.json: expected a known tokenizer, got ${reasonOf(cause)}`;
  return new GpruneError("UNSUPPORTED", message, { cause });
}

function largest(ids: Iterable<number>): number {
  let most = -1;
  for (const id of ids) most = Math.max(most, id);
  return most;
}

/** Time limits of a thread, milliseconds of the clock. */
export interface ThreadTimes {
  /** To build a tokenizer, which may have half a million merges. */
  readonly build: number;
  /** For a text of any length. */
  readonly call: number;
  /** In addition, for each character of the text. */
  readonly character: number;
}

/** At least ten times what real tokenizers take: other programs may keep the processor busy. */
const TIMES: ThreadTimes = { build: 60_000, call: 10_000, character: 0.02 };
/** Largest heap of the thread, megabytes; the largest vocabularies need a third. */
const MAX_HEAP_MB = 2048;

/** The thread's program: answers one request after the other and wakes the thread that waits for the answer. */
const PROGRAM = `
const { workerData } = require("node:worker_threads");
const { library, json, config, port, answered } = workerData;
const answer = (message) => {
  port.postMessage(message);
  Atomics.store(answered, 0, 1);
  Atomics.notify(answered, 0);
};
const attempt = (run) => {
  try { answer({ value: run() }); } catch (error) { answer({ error: String(error && error.message) }); }
};
let tokenizer;
attempt(() => {
  tokenizer = new (require(library).Tokenizer)(json, config);
  const largestId = [...tokenizer.get_vocab().values()].reduce((most, id) => Math.max(most, id), -1);
  return { largestId, around: tokenizer.encode("").ids };
});
const encodePieces = (section, isStart) => {
  const { pre_tokenizer: words, model } = tokenizer;
  const pieces = model(words?.(section, { section_index: isStart ? 0 : 1 }) ?? [section]);
  return { ids: pieces.map((piece) => model.tokens_to_ids.get(piece) ?? model.unk_token_id), pieces };
};
const requests = {
  normalized: (text) => tokenizer.normalizer?.(text) ?? text,
  encodeSection: (...request) => encodePieces(...request).ids,
  encodePieces,
  decode: (ids) => tokenizer.decode(ids, { clean_up_tokenization_spaces: false }),
  idOf: (token) => tokenizer.token_to_id(token),
};
// Without a tokenizer, the thread ends.
if (tokenizer !== undefined) {
  port.on("message", ([name, ...parameters]) => attempt(() => requests[name](...parameters)));
}`;

/** Ends the threads of engines that are no longer referenced. */
const ABANDONED = new FinalizationRegistry<Worker>((worker) => void worker.terminate());

/**
 * Runs in a thread of its own, which is ended when an answer takes longer than 10 seconds plus 20 microseconds for each
 * character. The caller blocks, as it would in the library itself.
 */
export function guardedEngine(files: EngineFiles, times: ThreadTimes = TIMES): LibraryEngine {
  const { port1: port, port2 } = new MessageChannel();
  const answered = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(PROGRAM, {
    eval: true,
    execArgv: [],
    stdout: true,
    stderr: true,
    resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MB },
    workerData: { library: libraryPath(), ...files, port: port2, answered },
    transferList: [port2],
  });
  // Errors come as answers; a thread that dies sends none, and the caller's time runs out.
  worker.on("error", () => {});
  worker.unref();
  let failure: GpruneError | undefined;
  const wait = (milliseconds: number): unknown => {
    const isLate = Atomics.wait(answered, 0, 0, milliseconds) === "timed-out";
    Atomics.store(answered, 0, 0);
    if (isLate) {
      failure = tooSlow(milliseconds);
      void worker.terminate();
      throw failure;
    }
    const { value, error } = receiveMessageOnPort(port)!.message as { value?: unknown; error?: string };
    if (error === undefined) return value;
    throw unknownTokenizer(error);
  };
  const ask = (characters: number, ...request: readonly unknown[]): unknown => {
    if (failure !== undefined) throw failure;
    port.postMessage(request);
    return wait(times.call + times.character * characters);
  };
  const engine: LibraryEngine = {
    ...(wait(times.build) as Pick<LibraryEngine, "largestId" | "around">),
    normalized: (text) => ask(text.length, "normalized", text) as string,
    encodeSection: (section, isStart) => ask(section.length, "encodeSection", section, isStart) as number[],
    encodePieces: (section, isStart) => ask(section.length, "encodePieces", section, isStart) as Pieces,
    decode: (ids) => ask(ids.length * 16, "decode", [...ids]) as string,
    idOf: (token) => ask(0, "idOf", token) as number | undefined,
  };
  ABANDONED.register(engine, worker);
  return engine;
}

/** The library's CommonJS file, for which the thread needs no loader. */
function libraryPath(): string {
  return createRequire(import.meta.url).resolve("@huggingface/tokenizers");
}

function tooSlow(milliseconds: number): GpruneError {
  const seconds = (milliseconds / 1000).toFixed(1);
  return new GpruneError(
    "UNSUPPORTED",
    `tokenizer.json: expected the text to be tokenized within ${seconds} s, got no result`,
    {
      hint: "Its regular expressions take too long on this text. Use the tokenizer of the original model.",
    },
  );
}
