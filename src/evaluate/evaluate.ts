/** Evaluates a model on named texts and tasks. */

import { requireSome } from "../base/arguments.ts";
import { mapValues } from "../base/map_values.ts";
import { plainName } from "../base/plain_text.ts";
import { type OnProgress, type Reporting, silent } from "../base/progress.ts";
import { interruptible } from "../base/stages.ts";
import { type TextSet, windowLength } from "../calibrate/windows.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { withTextsInErrors } from "../graph/runtime/finite.ts";
import type { Runtime } from "../graph/runtime/runtime.ts";
import type { Model } from "../model/model.ts";
import { type ComparedText, compareOnWindows, type Divergence, incomparable } from "./divergence.ts";
import { type ScoreKeeper, withKeptScores } from "./kept_scores.ts";
import {
  type Material,
  type MaterialOptions,
  type Measuring,
  otherTokens,
  readMaterial,
  readsAlike,
  tokenMaterial,
} from "./material.ts";
import { perplexity, perplexityOf, type TextScore } from "./perplexity.ts";
import { scoreTask, type TaskScore } from "./tasks.ts";

/** Scores of a model, as `gprune eval --json` prints them. */
export interface Evaluation {
  readonly model: string;
  readonly texts: Readonly<Record<string, TextScore>>;
  readonly tasks: Readonly<Record<string, TaskScore>>;
}

/** What models are evaluated on, in windows of how many tokens, and what keeps their scores. */
export interface EvaluateOptions extends MaterialOptions {
  /** Tokens in a window; 512, or as many as all models take if that is fewer, when absent. */
  readonly seqLen?: number | undefined;
  readonly onProgress?: OnProgress;
  /**
   * Directory that keeps the score of every text and task that is finished, so that the same call goes on after
   * whatever cut it off; see kept_scores.ts. Kept nowhere when absent.
   */
  readonly keep?: string | undefined;
  /** Ends the evaluation at the next step. */
  readonly signal?: AbortSignal | undefined;
}

/** Options as the functions below take them. */
type Evaluating = EvaluateOptions & Measuring;

/** @throws GpruneError INTERRUPTED, from progress events after the signal */
function evaluating(models: readonly Model[], options: EvaluateOptions): Evaluating {
  const { onProgress = silent, signal } = options;
  const seqLen = windowLength(models, options.seqLen);
  return { ...options, seqLen, onProgress: interruptible(onProgress, signal, 0) };
}

/**
 * Perplexity on every text, by the protocol of perplexity.ts, and accuracy on every task, by that of tasks.ts.
 * Everything is read before anything is computed.
 * @throws GpruneError BAD_TEXT for a text shorter than one window, BAD_ARGUMENT for windows of less than two tokens or
 *   more than the model takes, a limit below one, or two texts or tasks of one name, INTERRUPTED after the signal, and
 *   what `readTask`, `encodeDocument` and `withKeptScores` throw
 */
export async function evaluate(
  { model, runtime }: { readonly model: Model; readonly runtime: Runtime },
  texts: readonly TextSet[],
  options: EvaluateOptions,
): Promise<Evaluation> {
  const told = evaluating([model], options);
  const material = await tokenMaterial(model, await readMaterial([model], texts, told), told);
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
      /**
       * Whether texts are cut into other tokens, so that perplexities are of other things; absent when they are not.
       */
      readonly other_tokens?: true;
    };

/**
 * Evaluates several models as `evaluate` does, on texts that are read once, and says how far the later ones are from
 * the first. Models that can be compared token by token go through the texts together with the first one, the others
 * alone.
 * @returns an evaluation of every model; `fromFirst` is absent in the first and without texts
 * @throws GpruneError as `evaluate`, and BAD_ARGUMENT without a model
 */
export async function evaluateTogether(
  { models, runtime }: { readonly models: readonly Model[]; readonly runtime: Runtime },
  texts: readonly TextSet[],
  options: EvaluateOptions,
): Promise<readonly (Evaluation & { readonly fromFirst?: FromFirst })[]> {
  requireSome("models", models);
  const told = evaluating(models, options);
  const read = await readMaterial(models, texts, told);
  const materials: Material[] = [];
  for (const model of models) {
    const twin = models.slice(0, materials.length).findIndex((other) => readsAlike(other, model, told));
    materials.push(materials[twin] ?? (await tokenMaterial(model, read, told)));
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

/** Scores one named set after the other. */
async function scoresOf<Content, Score>(
  sets: readonly (readonly [string, Content])[],
  onProgress: OnProgress,
  score: (content: Content, options: Reporting) => Promise<Score>,
): Promise<Readonly<Record<string, Score>>> {
  const scores: [string, Score][] = [];
  for (const [name, content] of sets) {
    const stage = `evaluate ${name}`;
    scores.push([
      name,
      await withTextsInErrors(plainName(name), () => score(content, { stage, onProgress })),
    ]);
  }
  return Object.fromEntries(scores);
}

/** exp of the mean of the log perplexities. */
export function geometricMean(scores: readonly TextScore[]): number {
  return perplexityOf(scores.reduce((sum, { nll }) => sum + nll, 0) / scores.length);
}
