/** Evaluates a model on named texts and tasks. */
import {
  cutWindows,
  nameOfTwo,
  requireWindowsFit,
  type TextSet,
  windowLength,
} from "../calibrate/windows.ts";
import { GpruneError } from "../errors.ts";
import { DecoderRunner, requireKnownTokens } from "../graph/decoder_runner.ts";
import { naming } from "../graph/finite.ts";
import type { Runtime } from "../graph/runtime.ts";
import type { HubOptions } from "../io/hub.ts";
import type { Environment } from "../io/hub_settings.ts";
import { readText } from "../io/texts.ts";
import { mapValues } from "../map_values.ts";
import { chatRendererOf } from "../model/chat_template.ts";
import type { Model } from "../model/model.ts";
import { isSameTokenizer, Tokenizer } from "../model/tokenizer.ts";
import { plainName } from "../plain_text.ts";
import { type OnProgress, silent } from "../progress.ts";
import { interruptible } from "../stages.ts";
import { type ComparedText, compareOnWindows, type Divergence, incomparable } from "./divergence.ts";
import { withShots } from "./few_shot.ts";
import { type ScoreKeeper, withKeptScores } from "./kept_scores.ts";
import { perplexity, perplexityOf, type TextScore } from "./perplexity.ts";
import { readTask } from "./task_file.ts";
import type { TaskDocument } from "./task_layouts.ts";
import { type EncodedDocument, encodeDocument, scoreTask, type TaskScore } from "./tasks.ts";

/** Scores of a model, as `gprune eval --json` prints them. */
export interface Evaluation {
  readonly model: string;
  readonly texts: Readonly<Record<string, TextScore>>;
  readonly tasks: Readonly<Record<string, TaskScore>>;
}

export interface EvaluateOptions {
  /** Tokens in a window; 512, or as many as all models take if that is fewer, when absent. */
  readonly seqLen?: number | undefined;
  /** Whether every window of a text begins with BOS, one of its tokens. */
  readonly bos?: boolean;
  /** Called with the name of a model whose tokenizer puts BOS before texts, when windows have none. */
  readonly onWithoutBos?: ((model: string) => void) | undefined;
  /** Tasks in the formats of task_file.ts; none when absent. */
  readonly tasks?: readonly TextSet[];
  /** Solved questions before each one; as many as tasks want themselves when absent. */
  readonly fewShot?: TaskShots;
  /** Called with how many solved questions each question of a task comes after. */
  readonly onShots?: ((task: string, count: number) => void) | undefined;
  /** At most this many windows of each text, and documents of each task. */
  readonly limit?: number | undefined;
  readonly onProgress?: OnProgress;
  /**
   * Directory that keeps the score of every text and task that is finished, so that the same call goes on after whatever
   * cut it off; see kept_scores.ts. Kept nowhere when absent.
   */
  readonly keep?: string | undefined;
  /** Ends the evaluation at the next step. */
  readonly signal?: AbortSignal | undefined;
  /** Where HF_HOME and the like are looked up; the process's own variables when absent. */
  readonly environment?: Environment;
}

/** Options as the functions below take them. */
interface Evaluating extends EvaluateOptions {
  readonly seqLen: number;
  readonly onProgress: OnProgress;
}

/** @throws GpruneError INTERRUPTED, from progress events after the signal */
function evaluating(models: readonly Model[], options: EvaluateOptions): Evaluating {
  const { onProgress = silent, signal } = options;
  const seqLen = windowLength(models, options.seqLen);
  return { ...options, seqLen, onProgress: interruptible(onProgress, signal, 0) };
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

/**
 * Perplexity on every text, by the protocol of perplexity.ts, and accuracy on every task, by that of tasks.ts.
 * Everything is read before anything is computed.
 * @throws GpruneError BAD_TEXT for a text shorter than one window, BAD_ARGUMENT for windows of less than two tokens
 *   or more than the model takes, a limit below one, or two texts or tasks of one name, INTERRUPTED after the signal, and what `readTask`, `encodeDocument` and `withKeptScores` throw
 */
export async function evaluate(
  { model, runtime }: { readonly model: Model; readonly runtime: Runtime },
  texts: readonly TextSet[],
  options: EvaluateOptions,
): Promise<Evaluation> {
  const told = evaluating([model], options);
  const material = tokenMaterial(model, await readMaterial([model], texts, told), told);
  const runner = new DecoderRunner(model, runtime);
  return withKeptScores({ ...told, device: runtime.device }, async (keeper) => {
    const own = { ...material, runner, keeper, onProgress: told.onProgress };
    return { model: model.origin.name, texts: await textScores(own), tasks: await taskScores(own) };
  });
}

/** Distance from the first of several models, or why there is none. */
export type FromFirst =
  | {
      readonly divergence: Readonly<Record<string, Divergence>>;
      readonly incomparable?: never;
      readonly other_tokens?: never;
    }
  | {
      readonly divergence: null;
      readonly incomparable: string;
      /** Whether texts are cut into other tokens, so that perplexities are of other things; absent when they are not. */
      readonly other_tokens?: true;
    };

/**
 * Evaluates several models, each as `evaluate` does but on texts that are read once, and says how far the later ones are from the first. Those that can be
 * compared token by token go through the texts together with the first one; the others alone.
 * @returns an evaluation of every model; `fromFirst` is absent in the first and without texts
 * @throws GpruneError as `evaluate`
 */
export async function evaluateTogether(
  { models, runtime }: { readonly models: readonly Model[]; readonly runtime: Runtime },
  texts: readonly TextSet[],
  options: EvaluateOptions,
): Promise<readonly (Evaluation & { readonly fromFirst?: FromFirst })[]> {
  const told = evaluating(models, options);
  const read = await readMaterial(models, texts, told);
  const materials: Material[] = [];
  for (const model of models) {
    const twin = models.slice(0, materials.length).findIndex((other) => readsAlike(other, model));
    materials.push(materials[twin] ?? tokenMaterial(model, read, told));
  }
  const cuts = materials.map((material) => otherTokens(materials[0]!, material));
  const reasons = models.map(({ spec }, m) => incomparable(models[0]!.spec, spec) ?? cuts[m]!);
  const together = models.filter((_, m) => reasons[m] === null);
  return withKeptScores({ ...told, device: runtime.device }, async (keeper) => {
    const runners = together.map((model) => new DecoderRunner(model, runtime));
    const compared = await scoresOf(materials[0]!.windows, told.onProgress, (content, more) =>
      keeper({ kind: "divergence", models: together, content }, () =>
        compareOnWindows(runners, content, more),
      ),
    );
    const evaluations: (Evaluation & { readonly fromFirst?: FromFirst })[] = [];
    for (const [m, model] of models.entries()) {
      // The same model may be given twice, so it is counted and not looked up.
      const place = reasons[m] === null ? reasons.slice(0, m).filter((each) => each === null).length : -1;
      const onProgress: OnProgress = (event) =>
        told.onProgress(m === 0 ? event : { ...event, stage: `${event.stage}, model ${m + 1}` });
      const known = place < 0 ? null : mapValues(compared, ({ scores }) => scores[place]!);
      const own = { ...materials[m]!, runner: new DecoderRunner(model, runtime), keeper, onProgress };
      evaluations.push({
        model: model.origin.name,
        texts: known ?? (await textScores(own)),
        tasks: await taskScores(own),
        ...(m > 0 &&
          texts.length > 0 && {
            fromFirst: fromFirst(compared, place, { reason: reasons[m]!, cut: cuts[m]! }),
          }),
      });
    }
    return evaluations;
  });
}

/** One model and what it is evaluated on. */
interface OwnEvaluation extends Material {
  readonly runner: DecoderRunner;
  readonly keeper: ScoreKeeper;
  readonly onProgress: OnProgress;
}

function textScores({ windows, runner, keeper, onProgress }: OwnEvaluation): Promise<Evaluation["texts"]> {
  const models = [runner.model];
  return scoresOf(windows, onProgress, (content, more) =>
    keeper({ kind: "perplexity", models, content }, () => perplexity(runner, content, more)),
  );
}

function taskScores({ documents, runner, keeper, onProgress }: OwnEvaluation): Promise<Evaluation["tasks"]> {
  const models = [runner.model];
  return scoresOf(documents, onProgress, (content, more) =>
    keeper({ kind: "task", models, content }, () => scoreTask(runner, content, more)),
  );
}

function fromFirst(
  compared: Readonly<Record<string, ComparedText>>,
  place: number,
  { reason, cut }: { readonly reason: string | null; readonly cut: string | null },
): FromFirst {
  if (reason !== null) {
    return { divergence: null, incomparable: reason, ...(cut !== null && { other_tokens: true }) };
  }
  return { divergence: mapValues(compared, ({ divergences }) => divergences[place - 1]!) };
}

/** Whether two models make the same tokens of everything. */
function readsAlike(a: Model, b: Model): boolean {
  return a.spec.maxPositions === b.spec.maxPositions && isSameTokenizer(a.files, b.files);
}

/** Why windows that should hold the same tokens do not; null when they do. */
function otherTokens(first: Material, other: Material): string | null {
  if (first === other) return null;
  const text = first.windows.find(([, windows], t) => {
    return `${windows.map(String)}` !== `${other.windows[t]![1].map(String)}`;
  });
  return text === undefined ? null : `expected the same tokens of text ${text[0]}, got others`;
}

function requireBos({ bosId }: Tokenizer, model: string): number {
  if (bosId !== null) return bosId;
  const expected = `${plainName(model)}'s tokenizer to have a token that begins texts`;
  throw new GpruneError("BAD_ARGUMENT", `--bos: expected ${expected}, got one without`);
}

/** What is to be computed on, in tokens of a model's own tokenizer. */
interface Material {
  readonly windows: readonly (readonly [string, readonly Int32Array[]])[];
  readonly documents: readonly (readonly [string, readonly EncodedDocument[]])[];
}

/** The same as it was read. */
interface ReadMaterial {
  readonly texts: readonly { readonly name: string; readonly path: string; readonly text: string }[];
  readonly tasks: readonly (readonly [string, readonly TaskDocument[]])[];
}

/** Reads all texts and tasks, once for all models. */
async function readMaterial(
  models: readonly Model[],
  sets: readonly TextSet[],
  { seqLen, tasks: taskSets = [], fewShot = OWN_SHOTS, limit, onProgress, onShots, environment }: Evaluating,
): Promise<ReadMaterial> {
  requireCount("--seq-len", seqLen, MIN_WINDOW);
  if (limit !== undefined) requireCount("--limit", limit, 1);
  for (const named of [sets, taskSets]) requireOwnNames(named);
  if (sets.length > 0) for (const model of models) requireWindowsFit(model, seqLen);
  const hub = { onProgress, environment };
  // All models get the same text: conversations as the first one's template has them.
  const renderer = () => models[0] && chatRendererOf(models[0]);
  const texts: { name: string; path: string; text: string }[] = [];
  for (const { name, path } of sets) {
    texts.push({ name, path, text: await readText(path, MAX_TEXT_BYTES, { ...hub, renderer }) });
  }
  const tasks: [string, readonly TaskDocument[]][] = [];
  for (const task of taskSets)
    tasks.push([task.name, await readQuestions(task, { limit, fewShot, onShots, hub })]);
  return { texts, tasks };
}

/**
 * Tokenises all texts and tasks.
 * @throws GpruneError BAD_TEXT for a text or question with a token that the model does not have, BAD_ARGUMENT where BOS is
 *   asked for and there is none, and as `encodeDocument`
 */
function tokenMaterial(
  { files, spec, origin }: Model,
  { texts, tasks }: ReadMaterial,
  { seqLen, limit, bos = false, onWithoutBos = () => {} }: Evaluating,
): Material {
  const tokenizer = Tokenizer.of({ files, origin });
  const first = bos ? requireBos(tokenizer, origin.name) : null;
  if (!bos && texts.length > 0 && tokenizer.addsBos) onWithoutBos(origin.name);
  return {
    windows: texts.map(({ name, path, text }) => {
      const where = `text ${name} (${path})`;
      const windows = cutWindows(tokenizer.encode(text), seqLen, { where, first }).slice(0, limit);
      for (const window of windows) requireKnownTokens(window, spec.vocabSize, where);
      return [name, windows];
    }),
    documents: tasks.map(([name, documents]) => [
      name,
      documents.map((document) => {
        const encoded = encodeDocument(document, tokenizer, spec.maxPositions);
        for (const { ids } of encoded.continuations) requireKnownTokens(ids, spec.vocabSize, document.where);
        return encoded;
      }),
    ]),
  };
}

/** The questions of a task, after the solved ones that they are to come after. */
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
    readonly onShots: EvaluateOptions["onShots"];
    readonly hub: HubOptions;
  },
): Promise<readonly TaskDocument[]> {
  const { seed, pools } = fewShot;
  const documents = await readTask(path, limit, hub);
  const count = fewShot.count ?? documents[0]?.shots ?? 0;
  onShots?.(name, count);
  const own = pools.find((pool) => pool.name === name);
  if (own !== undefined && count === 0 && fewShot.count === undefined) throw idlePool(name);
  const isWholePool = count === 0 || (own === undefined && limit === undefined);
  const pool = isWholePool ? documents : await readTask(own?.path ?? path, undefined, hub);
  return withShots(documents, { count, seed, name, pool });
}

function idlePool(task: string): GpruneError {
  const expected = "--num-fewshot, or num_fewshot in the task's file, beside solved questions";
  return new GpruneError("BAD_ARGUMENT", `task ${plainName(task)}: expected ${expected}, got neither`);
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

/** Scores are found by the names of texts and tasks. */
function requireOwnNames(sets: readonly TextSet[]): void {
  const twice = nameOfTwo(sets);
  if (twice === undefined) return;
  const got = `${plainName(twice)} twice`;
  throw new GpruneError("BAD_ARGUMENT", `texts and tasks: expected different names, got ${got}`);
}

function requireCount(option: string, count: number, least: number): void {
  if (Number.isSafeInteger(count) && count >= least) return;
  throw new GpruneError("BAD_ARGUMENT", `${option}: expected a whole number from ${least}, got ${count}`);
}

/** exp of the mean of the log perplexities. */
export function geometricMean(scores: readonly TextScore[]): number {
  return perplexityOf(scores.reduce((sum, { nll }) => sum + nll, 0) / scores.length);
}
