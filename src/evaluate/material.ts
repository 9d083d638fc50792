/** Evaluation material: texts and tasks, read once for all models and tokenised for each. */

import { badArgument, requireCount, requireOwnNames } from "../base/arguments.ts";
import { plainName } from "../base/plain_text.ts";
import type { OnProgress } from "../base/progress.ts";
import type { NamedText } from "../calibrate/text_sets.ts";
import { cutWindows, requireWindowsFit } from "../calibrate/windows.ts";
import type { GpruneError } from "../errors.ts";
import { requireKnownTokens } from "../graph/decoder/embedding_rows.ts";
import type { HubOptions } from "../io/hub/hub.ts";
import { evenly } from "../io/texts/evenly.ts";
import { isTextDirectory, readText } from "../io/texts/texts.ts";
import type { Model } from "../model/model.ts";
import type { ModelSpec } from "../model/spec.ts";
import { chatPrompterOf, chatRendererOf, chatTemplateIn } from "../model/tokenizer/chat_template.ts";
import { isSameTokenizer, Tokenizer } from "../model/tokenizer/tokenizer.ts";
import { type ShotDocument, withShots } from "./few_shot.ts";
import { asChats, asTexts, type ChatOptions } from "./prompts.ts";
import type { TaskDocument } from "./task_documents.ts";
import { readPool, readTask } from "./task_file.ts";
import { type EncodedDocument, encodeDocument } from "./tasks.ts";

/** How texts become windows and tasks become prompts, the same for all models. */
export interface MaterialOptions {
  /** Whether every window of a text begins with BOS, which counts as one of its tokens; false when absent. */
  readonly bos?: boolean;
  /** Called with a model's name when its tokenizer adds BOS to texts but windows have none. */
  readonly onWithoutBos?: ((model: string) => void) | undefined;
  /** Tasks in the formats of task_file.ts; none when absent. */
  readonly tasks?: readonly NamedText[];
  /** Shots of tasks; when absent as many as each task's file sets. */
  readonly fewShot?: TaskShots;
  /** Puts questions of tasks as messages in each model's chat template; as plain texts when absent. */
  readonly chat?: ChatOptions | undefined;
  /** Called with the number of shots of each task. */
  readonly onShots?: ((task: string, count: number) => void) | undefined;
  /** Called with the number of a task's questions that were truncated at their beginnings, when there are any. */
  readonly onCut?: ((task: string, count: number) => void) | undefined;
  /** At most this many windows of each text, and documents of each task. */
  readonly limit?: number | undefined;
}

/** Material options with the window length settled. */
export interface MaterialRequest extends MaterialOptions {
  /** Tokens in a window. */
  readonly seqLen: number;
  readonly onProgress: OnProgress;
}

/** Shots, i.e. solved questions put before every question of a task. */
export interface TaskShots {
  /** Shots before each question; when absent as many as the task's file sets (`num_fewshot` of YAML files). */
  readonly count?: number | undefined;
  readonly seed: number;
  /** Files to draw shots from, by the task's name; a task without one draws from its other questions. */
  readonly pools: readonly NamedText[];
}

const DEFAULT_SHOTS: TaskShots = { seed: 0, pools: [] };

/** A window of one token predicts nothing. */
const MIN_WINDOW = 2;
/** Most bytes read of one text. */
const MAX_TEXT_BYTES = 2 ** 28;

/** Windows of texts and questions of tasks, by name, in the tokens of one model. */
export interface Material {
  readonly windows: readonly (readonly [string, readonly Int32Array[]])[];
  readonly documents: readonly (readonly [string, readonly EncodedDocument[]])[];
}

interface ReadText {
  readonly name: string;
  readonly path: string;
  readonly text: string;
  /** Whether a limited number of windows is spread over the text: a directory's first ones are all of one file. */
  readonly isSpread: boolean;
}

/** Texts and tasks as read, not yet tokenised. */
export interface ReadMaterial {
  readonly texts: readonly ReadText[];
  readonly tasks: readonly (readonly [string, readonly ShotDocument[]])[];
}

/** Reads all texts and tasks, once for all models. */
export async function readMaterial(
  models: readonly Model[],
  sets: readonly NamedText[],
  { seqLen, tasks: taskSets = [], fewShot = DEFAULT_SHOTS, limit, onProgress, onShots }: MaterialRequest,
): Promise<ReadMaterial> {
  requireCount("window length", seqLen, { least: MIN_WINDOW });
  if (limit !== undefined) requireCount("limit", limit);
  for (const list of [sets, taskSets]) requireOwnNames("texts and tasks", list);
  if (sets.length > 0) for (const model of models) requireWindowsFit(model, seqLen);
  const hub = { onProgress };
  // All models get the same text, so conversations are rendered by the first model's template.
  const renderer = () => models[0] && chatRendererOf(models[0]);
  const texts: ReadText[] = [];
  for (const { name, path } of sets) {
    const text = await readText(path, MAX_TEXT_BYTES, { ...hub, renderer });
    texts.push({ name, path, text, isSpread: await isTextDirectory(path) });
  }
  const tasks: [string, readonly ShotDocument[]][] = [];
  for (const task of taskSets)
    tasks.push([task.name, await readQuestions(task, { limit, fewShot, onShots, hub })]);
  return { texts, tasks };
}

/**
 * Tokenises all texts and tasks.
 * @throws GpruneError BAD_TEXT for a text or question with a token outside the model's vocabulary, BAD_ARGUMENT for
 *   `bos` with a tokenizer that has no BOS, and as `encodeDocument`
 */
export async function tokenMaterial(
  model: Model,
  { texts, tasks }: ReadMaterial,
  { seqLen, limit, bos = false, onWithoutBos = () => {}, onCut = () => {}, chat }: MaterialRequest,
): Promise<Material> {
  const { files, spec, origin } = model;
  const tokenizer = Tokenizer.of({ files, origin });
  const first = bos ? requireBos(tokenizer, origin.name) : null;
  if (!bos && texts.length > 0 && tokenizer.addsBos) onWithoutBos(origin.name);
  const prompter = chat === undefined || tasks.length === 0 ? undefined : chatPrompterOf(model);
  const documents: [string, readonly EncodedDocument[]][] = [];
  for (const [name, questions] of tasks) {
    const prompts = prompter === undefined ? asTexts(questions) : await asChats(questions, prompter, chat);
    const encoded = prompts.map((document) => encodeKnown(document, tokenizer, spec));
    const cut = encoded.filter(({ isCut }) => isCut).length;
    if (cut > 0) onCut(name, cut);
    documents.push([name, encoded]);
  }
  return {
    windows: texts.map(({ name, path, text, isSpread }) => {
      const where = `text ${name} (${path})`;
      // One token more, because a text's own first token is dropped.
      const enough = isSpread || limit === undefined ? undefined : limit * seqLen + 1;
      const allWindows = cutWindows(tokenizer.encode(text, enough), seqLen, { where, first });
      const windows = isSpread ? evenly(allWindows, limit ?? allWindows.length) : allWindows.slice(0, limit);
      for (const window of windows) requireKnownTokens(window, spec.vocabSize, where);
      return [name, windows];
    }),
    documents,
  };
}

/** @throws GpruneError BAD_TEXT for a token outside the model's vocabulary, and as `encodeDocument` */
function encodeKnown(
  document: TaskDocument,
  tokenizer: Tokenizer,
  { maxPositions, vocabSize }: ModelSpec,
): EncodedDocument {
  const encoded = encodeDocument(document, tokenizer, maxPositions);
  for (const { ids } of encoded.continuations) requireKnownTokens(ids, vocabSize, document.where);
  return encoded;
}

/** The questions of a task with their shots. */
async function readQuestions(
  { name, path }: NamedText,
  {
    limit,
    fewShot,
    onShots,
    hub,
  }: {
    readonly limit: number | undefined;
    readonly fewShot: TaskShots;
    readonly onShots: MaterialOptions["onShots"];
    readonly hub: HubOptions;
  },
): Promise<readonly ShotDocument[]> {
  const { seed, pools } = fewShot;
  const documents = await readTask(path, limit, hub);
  const count = fewShot.count ?? documents[0]?.shots ?? 0;
  onShots?.(name, count);
  const shotFile = pools.find((file) => file.name === name);
  if (shotFile !== undefined && count === 0) throw unusedShots(name, fewShot.count);
  const allDocuments = limit === undefined ? documents : null;
  const readShots = (): Promise<readonly TaskDocument[]> =>
    shotFile === undefined ? readPool(path, allDocuments, hub) : readTask(shotFile.path, undefined, hub);
  return withShots(documents, { count, seed, name, pool: count === 0 ? documents : await readShots() });
}

function unusedShots(task: string, count: number | undefined): GpruneError {
  const expected = "a number of few-shot examples (--num-fewshot, or num_fewshot in the task's file)";
  const got = count === undefined ? "a file of examples alone" : `${count}`;
  return badArgument(`task ${plainName(task)}`, expected, got);
}

/** Whether two models tokenise every text and question alike, so that they can share material. */
export function readsAlike(a: Model, b: Model, { chat }: MaterialOptions): boolean {
  if (chat !== undefined && chatTemplateIn(a.files) !== chatTemplateIn(b.files)) return false;
  return a.spec.maxPositions === b.spec.maxPositions && isSameTokenizer(a.files, b.files);
}

/** The first text whose windows differ in tokens, as an error message; null where all agree. */
export function otherTokens(first: Material, other: Material): string | null {
  if (first === other) return null;
  const text = first.windows.find(([, windows], t) => !isSame(windows, other.windows[t]![1]));
  return text === undefined ? null : `expected the same tokens of text ${text[0]}, got different ones`;
}

function isSame(windows: readonly Int32Array[], others: readonly Int32Array[]): boolean {
  if (windows.length !== others.length) return false;
  return windows.every((ids, w) => Buffer.compare(bytesOf(ids), bytesOf(others[w]!)) === 0);
}

function bytesOf({ buffer, byteOffset, byteLength }: Int32Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

function requireBos({ bosId }: Tokenizer, model: string): number {
  if (bosId !== null) return bosId;
  const expected = `a tokenizer of ${plainName(model)} with a BOS token`;
  throw badArgument("bos", expected, "one without");
}
