/** Evaluates models on named texts and tasks. */

import { requireSome } from "../base/arguments.ts";
import { mapValues } from "../base/map_values.ts";
import { plainName } from "../base/plain_text.ts";
import { type OnProgress, type Reporting, silent } from "../base/progress.ts";
import { interruptible } from "../base/stages.ts";
import type { NamedText } from "../calibrate/text_sets.ts";
import { windowLength } from "../calibrate/windows.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { withTextsInErrors } from "../graph/runtime/finite.ts";
import type { Runtime } from "../graph/runtime/runtime.ts";
import type { Model } from "../model/model.ts";
import { type ComparedText, compareOnWindows, type Divergence, incomparable } from "./divergence.ts";
import { type ScoreKeeper, withKeptScores } from "./kept_scores.ts";
import {
  type Material,
  type MaterialOptions,
  type MaterialRequest,
  otherTokens,
  readMaterial,
  readsAlike,
  tokenMaterial,
} from "./material.ts";
import { perplexity, type TextScore } from "./perplexity.ts";
import { scoreTask, type TaskScore } from "./tasks.ts";

/** Scores of a model, as `gprune eval --json` prints them. */
export interface Evaluation {
  readonly model: string;
  readonly texts: Readonly<Record<string, TextScore>>;
  readonly tasks: Readonly<Record<string, TaskScore>>;
}

/** Options of {@link evaluate} and {@link evaluateTogether}. */
export interface EvaluateOptions extends MaterialOptions {
  /** Tokens in a window; when absent 512, or as many as all models take if that is fewer. */
  readonly seqLen?: number | undefined;
  readonly onProgress?: OnProgress;
  /**
   * Directory that keeps the score of every finished text and task, so that the same call resumes after an
   * interruption; see kept_scores.ts. Scores are not kept when absent.
   */
  readonly resumeDirectory?: string | undefined;
  /** Stops the evaluation at the next progress event. */
  readonly signal?: AbortSignal | undefined;
}

/** Options with the window length settled; progress events throw GpruneError INTERRUPTED after the signal. */
function resolveOptions(
  models: readonly Model[],
  options: EvaluateOptions,
): EvaluateOptions & MaterialRequest {
  const { onProgress = silent, signal } = options;
  const seqLen = windowLength(models, options.seqLen);
  return { ...options, seqLen, onProgress: interruptible(onProgress, signal, 0) };
}

/**
 * Perplexity on every text, by the protocol of perplexity.ts, and accuracy on every task, by that of tasks.ts. All
 * texts and tasks are read before anything is computed.
 * @throws GpruneError BAD_TEXT for a text shorter than one window, BAD_ARGUMENT for windows of less than two tokens or
 *   more than the model takes, a limit below one, or two texts or tasks of one name, INTERRUPTED after the signal, and
 *   what `readTask`, `encodeDocument` and `withKeptScores` throw
 */
export async function evaluate(
  { model, runtime }: { readonly model: Model; readonly runtime: Runtime },
  texts: readonly NamedText[],
  options: EvaluateOptions = {},
): Promise<Evaluation> {
  const resolved = resolveOptions([model], options);
  const material = await tokenMaterial(model, await readMaterial([model], texts, resolved), resolved);
  const runner = new DecoderRunner(model, runtime);
  return withKeptScores({ ...resolved, device: runtime.device }, async (keeper) => {
    const job = { ...material, runner, keeper, onProgress: resolved.onProgress };
    return { model: model.origin.name, texts: await textScores(job), tasks: await taskScores(job) };
  });
}

/** Divergence from the first of several models by text, or why it cannot be measured. */
export type FromFirst =
  | {
      readonly divergence: Readonly<Record<string, Divergence>>;
      readonly incomparable?: never;
      readonly other_tokens?: never;
    }
  | {
      readonly divergence: null;
      readonly incomparable: string;
      /** Set where the tokens of a text differ, so that perplexities do not compare. */
      readonly other_tokens?: true;
    };

/** An evaluation of one of several models. */
export interface ComparedEvaluation extends Evaluation {
  /** Absent for the first model, and for all where there are no texts. */
  readonly fromFirst?: FromFirst;
}

/**
 * Evaluates several models like `evaluate`, on texts that are read once, and measures the divergence of the later ones
 * from the first. Models that can be compared token by token run on the texts together with the first one, the others
 * alone.
 * @returns an evaluation of every model
 * @throws GpruneError as `evaluate`, and BAD_ARGUMENT without a model
 */
export async function evaluateTogether(
  { models, runtime }: { readonly models: readonly Model[]; readonly runtime: Runtime },
  texts: readonly NamedText[],
  options: EvaluateOptions = {},
): Promise<readonly ComparedEvaluation[]> {
  requireSome("models", models);
  const resolved = resolveOptions(models, options);
  const read = await readMaterial(models, texts, resolved);
  const materials: Material[] = [];
  for (const model of models) {
    const earlier = models.slice(0, materials.length);
    const twin = earlier.findIndex((other) => readsAlike(other, model, resolved));
    materials.push(materials[twin] ?? (await tokenMaterial(model, read, resolved)));
  }
  const mismatches = materials.map((material) => otherTokens(materials[0]!, material));
  const reasons = models.map(({ spec }, m) => incomparable(models[0]!.spec, spec) ?? mismatches[m]!);
  const comparable = models.filter((_, m) => reasons[m] === null);
  return withKeptScores({ ...resolved, device: runtime.device }, async (keeper) => {
    const runners = comparable.map((model) => new DecoderRunner(model, runtime));
    const compared = await scoresOf(materials[0]!.windows, resolved.onProgress, (content, reporting) =>
      keeper({ kind: "divergence", models: comparable, content }, () =>
        compareOnWindows(runners, content, reporting),
      ),
    );
    const evaluations: ComparedEvaluation[] = [];
    for (const [m, model] of models.entries()) {
      // Its index in `comparable` is counted, not looked up: a model may be given twice.
      const place = reasons[m] === null ? reasons.slice(0, m).filter((reason) => reason === null).length : -1;
      const onProgress: OnProgress = (event) =>
        resolved.onProgress(m === 0 ? event : { ...event, stage: `${event.stage}, model ${m + 1}` });
      const comparedScores = place < 0 ? null : mapValues(compared, ({ scores }) => scores[place]!);
      const job = { ...materials[m]!, runner: new DecoderRunner(model, runtime), keeper, onProgress };
      evaluations.push({
        model: model.origin.name,
        texts: comparedScores ?? (await textScores(job)),
        tasks: await taskScores(job),
        ...(m > 0 &&
          texts.length > 0 && {
            fromFirst: fromFirst(compared, place, { reason: reasons[m]!, mismatch: mismatches[m]! }),
          }),
      });
    }
    return evaluations;
  });
}

/** The evaluation of one model on its material. */
interface EvaluationJob extends Material {
  readonly runner: DecoderRunner;
  readonly keeper: ScoreKeeper;
  readonly onProgress: OnProgress;
}

function textScores({ windows, runner, keeper, onProgress }: EvaluationJob): Promise<Evaluation["texts"]> {
  const models = [runner.model];
  return scoresOf(windows, onProgress, (content, reporting) =>
    keeper({ kind: "perplexity", models, content }, () => perplexity(runner, content, reporting)),
  );
}

function taskScores({ documents, runner, keeper, onProgress }: EvaluationJob): Promise<Evaluation["tasks"]> {
  const models = [runner.model];
  return scoresOf(documents, onProgress, (content, reporting) =>
    keeper({ kind: "task", models, content }, () => scoreTask(runner, content, reporting)),
  );
}

function fromFirst(
  compared: Readonly<Record<string, ComparedText>>,
  place: number,
  { reason, mismatch }: { readonly reason: string | null; readonly mismatch: string | null },
): FromFirst {
  if (reason !== null) {
    return { divergence: null, incomparable: reason, ...(mismatch !== null && { other_tokens: true }) };
  }
  return { divergence: mapValues(compared, ({ divergences }) => divergences[place - 1]!) };
}

/** Scores named texts or tasks one after another; errors name the one they arose in. */
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
