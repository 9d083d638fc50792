/** Evaluates a model on named texts and tasks. */
import { cutWindows, type TextSet } from "../calibrate/windows.ts";
import { GpruneError } from "../errors.ts";
import { DecoderRunner } from "../graph/decoder_runner.ts";
import { naming } from "../graph/finite.ts";
import type { Runtime } from "../graph/runtime.ts";
import type { HubOptions } from "../io/hub.ts";
import type { Environment } from "../io/hub_settings.ts";
import { readText } from "../io/texts.ts";
import type { Model } from "../model/model.ts";
import { Tokenizer } from "../model/tokenizer.ts";
import { plainName } from "../plain_text.ts";
import { type OnProgress, silent } from "../progress.ts";
import { withShots } from "./few_shot.ts";
import { perplexity, type TextScore } from "./perplexity.ts";
import { readTask, type TaskDocument } from "./task_file.ts";
import { type EncodedDocument, encodeDocument, scoreTask, type TaskScore } from "./tasks.ts";

/** Scores of a model, as `gprune eval --json` prints them. */
export interface Evaluation {
  readonly model: string;
  readonly texts: Readonly<Record<string, TextScore>>;
  readonly tasks: Readonly<Record<string, TaskScore>>;
}

export interface EvaluateOptions {
  /** Tokens in a window. */
  readonly seqLen: number;
  /** Tasks in the formats of task_file.ts; none when absent. */
  readonly tasks?: readonly TextSet[];
  /** Solved questions before each one. */
  readonly fewShot?: TaskShots;
  /** At most this many windows of each text, and documents of each task. */
  readonly limit?: number | undefined;
  readonly onProgress?: OnProgress;
  /** Where HF_HOME and the like are looked up; the process's own variables when absent. */
  readonly environment?: Environment;
}

/** Solved questions that every question of a task comes after. */
export interface TaskShots {
  readonly count: number;
  readonly seed: number;
  /** Files they come from, by the task's name; a task that has none shows its own other questions. */
  readonly pools: readonly TextSet[];
}

const NO_SHOTS: TaskShots = { count: 0, seed: 0, pools: [] };

/** A window of one token predicts nothing. */
const MIN_WINDOW = 2;
/** Bytes of text read at most for one text. */
const MAX_TEXT_BYTES = 2 ** 28;

/**
 * Perplexity on every text, by the protocol of perplexity.ts, and accuracy on every task, by that of tasks.ts.
 * Everything is read before anything is computed.
 * @throws GpruneError BAD_TEXT for a text shorter than one window, BAD_ARGUMENT for windows of less than two tokens or
 *   a limit below one, and what `readTask` and `encodeDocument` throw
 */
export async function evaluate(
  { model, runtime }: { readonly model: Model; readonly runtime: Runtime },
  texts: readonly TextSet[],
  { seqLen, tasks = [], fewShot = NO_SHOTS, limit, onProgress = silent, environment }: EvaluateOptions,
): Promise<Evaluation> {
  requireCount("--seq-len", seqLen, MIN_WINDOW);
  if (limit !== undefined) requireCount("--limit", limit, 1);
  const tokenizer = Tokenizer.fromFiles(model.files);
  const windows: [string, readonly Int32Array[]][] = [];
  for (const { name, path } of texts) {
    const ids = tokenizer.encode(await readText(path, MAX_TEXT_BYTES, { onProgress, environment }));
    windows.push([name, cutWindows(ids, seqLen, `text ${name} (${path})`).slice(0, limit)]);
  }
  const documents: [string, readonly EncodedDocument[]][] = [];
  for (const task of tasks) {
    const { maxPositions } = model.spec;
    const read = await readQuestions(task, { limit, fewShot, hub: { onProgress, environment } });
    documents.push([task.name, read.map((document) => encodeDocument(document, tokenizer, maxPositions))]);
  }
  const runner = new DecoderRunner(model, runtime);
  return {
    model: model.origin.name,
    texts: await scoresOf(windows, onProgress, (own, options) => perplexity(runner, own, options)),
    tasks: await scoresOf(documents, onProgress, (own, options) => scoreTask(runner, own, options)),
  };
}

/** The questions of a task, after the solved ones that they are to come after. */
async function readQuestions(
  { name, path }: TextSet,
  {
    limit,
    fewShot,
    hub,
  }: {
    readonly limit: number | undefined;
    readonly fewShot: TaskShots;
    readonly hub: HubOptions;
  },
): Promise<readonly TaskDocument[]> {
  const { count, seed, pools } = fewShot;
  const own = pools.find((pool) => pool.name === name);
  const documents = await readTask(path, limit, hub);
  const pool = count === 0 ? [] : await readTask(own?.path ?? path, undefined, hub);
  return withShots(documents, { count, seed, name, pool });
}

/** Scores one named set after the other. */
async function scoresOf<Content, Score>(
  sets: readonly (readonly [string, Content])[],
  onProgress: OnProgress,
  score: (
    content: Content,
    options: { readonly stage: string; readonly onProgress: OnProgress },
  ) => Promise<Score>,
): Promise<Readonly<Record<string, Score>>> {
  const scores: [string, Score][] = [];
  for (const [name, content] of sets) {
    const stage = `evaluate ${name}`;
    scores.push([name, await naming(plainName(name), () => score(content, { stage, onProgress }))]);
  }
  return Object.fromEntries(scores);
}

function requireCount(option: string, count: number, least: number): void {
  if (Number.isSafeInteger(count) && count >= least) return;
  throw new GpruneError("BAD_ARGUMENT", `${option}: expected a whole number from ${least}, got ${count}`);
}

/** exp of the mean of the log perplexities. */
export function geometricMean(scores: readonly TextScore[]): number {
  return Math.exp(scores.reduce((sum, { nll }) => sum + nll, 0) / scores.length);
}
