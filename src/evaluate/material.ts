/** What models are evaluated on: texts and tasks, read once for all models and cut into tokens for each. */

import { badArgument, requireCount, requireOwnNames } from "../base/arguments.ts";
import { plainName } from "../base/plain_text.ts";
import type { OnProgress } from "../base/progress.ts";
import { cutWindows, requireWindowsFit, type TextSet } from "../calibrate/windows.ts";
import type { GpruneError } from "../errors.ts";
import { requireKnownTokens } from "../graph/decoder/decoder_runner.ts";
import type { HubOptions } from "../io/hub/hub.ts";
import { evenly } from "../io/texts/evenly.ts";
import { isTextDirectory, readText } from "../io/texts/texts.ts";
import type { Model } from "../model/model.ts";
import type { ModelSpec } from "../model/spec.ts";
import { chatPrompterOf, chatRendererOf, chatTemplateIn } from "../model/tokenizer/chat_template.ts";
import { isSameTokenizer, Tokenizer } from "../model/tokenizer/tokenizer.ts";
import { type ShotDocument, withShots } from "./few_shot.ts";
import { asChats, asTexts, type ChatOptions } from "./prompts.ts";
import { readPool, readTask } from "./task_file.ts";
import type { TaskDocument } from "./task_layouts.ts";
import { type EncodedDocument, encodeDocument } from "./tasks.ts";

/** How texts become windows of tokens and tasks become questions, the same for all models. */
export interface MaterialOptions {
  /** Whether every window of a text begins with BOS, one of its tokens. */
  readonly bos?: boolean;
  /** Called with the name of a model whose tokenizer puts BOS before texts, when windows have none. */
  readonly onWithoutBos?: ((model: string) => void) | undefined;
  /** Tasks in the formats of task_file.ts; none when absent. */
  readonly tasks?: readonly TextSet[];
  /** Solved questions before each one; as many as tasks want themselves when absent. */
  readonly fewShot?: TaskShots;
  /** Puts questions of tasks as messages, by the chat template of each model; as plain texts when absent. */
  readonly chat?: ChatOptions | undefined;
  /** Called with how many solved questions each question of a task comes after. */
  readonly onShots?: ((task: string, count: number) => void) | undefined;
  /** Called with how many questions of a task are too long for a model and lost their beginnings, when some are. */
  readonly onCut?: ((task: string, count: number) => void) | undefined;
  /** At most this many windows of each text, and documents of each task. */
  readonly limit?: number | undefined;
}

/** The same with tokens of a window, and where progress is told. */
export interface Measuring extends MaterialOptions {
  readonly seqLen: number;
  readonly onProgress: OnProgress;
}

/** Solved questions that every question of a task comes after. */
export interface TaskShots {
  /** As many as the task's own file wants (`num_fewshot` of YAML files) when absent. */
  readonly count?: number | undefined;
  readonly seed: number;
  /** Files they come from, by the task's name; a task that has none shows its own other questions. */
  readonly pools: readonly TextSet[];
}

const OWN_SHOTS: TaskShots = { seed: 0, pools: [] };

/** A window of one token predicts nothing. */
const MIN_WINDOW = 2;
/** Bytes of text read at most for one text. */
const MAX_TEXT_BYTES = 2 ** 28;

/** What is to be computed on, in tokens of a model's own tokenizer. */
export interface Material {
  readonly windows: readonly (readonly [string, readonly Int32Array[]])[];
  readonly documents: readonly (readonly [string, readonly EncodedDocument[]])[];
}

interface ReadText {
  readonly name: string;
  readonly path: string;
  readonly text: string;
  /** Whether few of its windows are taken from all over it: the first ones of a directory are those of one file. */
  readonly isSpread: boolean;
}

/** The same as it was read. */
export interface ReadMaterial {
  readonly texts: readonly ReadText[];
  readonly tasks: readonly (readonly [string, readonly ShotDocument[]])[];
}

/** Reads all texts and tasks, once for all models. */
export async function readMaterial(
  models: readonly Model[],
  sets: readonly TextSet[],
  { seqLen, tasks: taskSets = [], fewShot = OWN_SHOTS, limit, onProgress, onShots }: Measuring,
): Promise<ReadMaterial> {
  requireCount("--seq-len", seqLen, MIN_WINDOW);
  if (limit !== undefined) requireCount("--limit", limit, 1);
  for (const named of [sets, taskSets]) requireOwnNames("texts and tasks", named);
  if (sets.length > 0) for (const model of models) requireWindowsFit(model, seqLen);
  const hub = { onProgress };
  // All models get the same text: conversations as the first one's template has them.
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
 * @throws GpruneError BAD_TEXT for a text or question with a token that the model does not have, BAD_ARGUMENT where BOS
 *   is asked for and there is none, and as `encodeDocument`
 */
export async function tokenMaterial(
  model: Model,
  { texts, tasks }: ReadMaterial,
  { seqLen, limit, bos = false, onWithoutBos = () => {}, onCut = () => {}, chat }: Measuring,
): Promise<Material> {
  const { files, spec, origin } = model;
  const tokenizer = Tokenizer.of({ files, origin });
  const first = bos ? requireBos(tokenizer, origin.name) : null;
  if (!bos && texts.length > 0 && tokenizer.addsBos) onWithoutBos(origin.name);
  const prompter = chat === undefined || tasks.length === 0 ? undefined : chatPrompterOf(model);
  const documents: [string, readonly EncodedDocument[]][] = [];
  for (const [name, shot] of tasks) {
    const asked = prompter === undefined ? asTexts(shot) : await asChats(shot, prompter, chat);
    const encoded = asked.map((document) => encodeKnown(document, tokenizer, spec));
    const cut = encoded.filter(({ isCut }) => isCut).length;
    if (cut > 0) onCut(name, cut);
    documents.push([name, encoded]);
  }
  return {
    windows: texts.map(({ name, path, text, isSpread }) => {
      const where = `text ${name} (${path})`;
      const all = cutWindows(tokenizer.encode(text), seqLen, { where, first });
      const windows = isSpread ? evenly(all, limit ?? all.length) : all.slice(0, limit);
      for (const window of windows) requireKnownTokens(window, spec.vocabSize, where);
      return [name, windows];
    }),
    documents,
  };
}

/** @throws GpruneError BAD_TEXT for a token that the model does not have, and as `encodeDocument` */
function encodeKnown(
  document: TaskDocument,
  tokenizer: Tokenizer,
  { maxPositions, vocabSize }: ModelSpec,
): EncodedDocument {
  const encoded = encodeDocument(document, tokenizer, maxPositions);
  for (const { ids } of encoded.continuations) requireKnownTokens(ids, vocabSize, document.where);
  return encoded;
}

/** The questions of a task, with the solved ones that they are to come after. */
async function readQuestions(
  { name, path }: TextSet,
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
  const own = pools.find((pool) => pool.name === name);
  if (own !== undefined && count === 0) throw idlePool(name, fewShot.count);
  const all = limit === undefined ? documents : null;
  const pool = (): Promise<readonly TaskDocument[]> =>
    own === undefined ? readPool(path, all, hub) : readTask(own.path, undefined, hub);
  return withShots(documents, { count, seed, name, pool: count === 0 ? documents : await pool() });
}

function idlePool(task: string, asked: number | undefined): GpruneError {
  const expected = "--num-fewshot, or num_fewshot in the task's file, beside solved questions";
  const got = asked === undefined ? "neither" : `--num-fewshot ${asked}`;
  return badArgument(`task ${plainName(task)}`, expected, got);
}

/** Whether two models make the same tokens of everything. */
export function readsAlike(a: Model, b: Model, { chat }: MaterialOptions): boolean {
  if (chat !== undefined && chatTemplateIn(a.files) !== chatTemplateIn(b.files)) return false;
  return a.spec.maxPositions === b.spec.maxPositions && isSameTokenizer(a.files, b.files);
}

/** Why windows that should hold the same tokens do not; null when they do. */
export function otherTokens(first: Material, other: Material): string | null {
  if (first === other) return null;
  const text = first.windows.find(([, windows], t) => !isSame(windows, other.windows[t]![1]));
  return text === undefined ? null : `expected the same tokens of text ${text[0]}, got others`;
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
  const expected = `${plainName(model)}'s tokenizer to have a token that begins texts`;
  throw badArgument("--bos", expected, "one without");
}
