/**
 * Keeps the score of every text and task that is finished, so that an evaluation that was cut off goes on where it was.
 * A score is found again by the hash of all it depends on: models, tokens, device, versions, instruction sets. What has
 * changed is therefore computed anew, and nothing else; names and paths do not matter.
 */

import { versions } from "../base/package.ts";
import type { OnProgress } from "../base/progress.ts";
import type { Stages } from "../base/stages.ts";
import { GpruneError } from "../errors.ts";
import type { Device } from "../graph/runtime/device.ts";
import { processor } from "../io/files/machine.ts";
import { RunDirectory } from "../io/run/directory.ts";
import { sha256Hex } from "../io/store/sha256.ts";
import { modelHashes } from "../model/checkpoint/model_hashes.ts";
import type { Model } from "../model/model.ts";

/** What a score is of. */
export interface Scored {
  /** How it is computed. */
  readonly kind: "perplexity" | "divergence" | "task";
  readonly models: readonly Model[];
  /** Windows or documents, in tokens. */
  readonly content: readonly unknown[];
}

/** Gives a score that was kept, or computes it and keeps it. Scores are plain, see stages.ts. */
export type ScoreKeeper = <Score>(scored: Scored, compute: () => Promise<Score>) => Promise<Score>;

export interface KeepOptions {
  /** Directory for finished scores, made when there is none; they are kept nowhere when absent. */
  readonly keep?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Where scores are computed; another device has other last digits. */
  readonly device: Device;
  readonly onProgress: OnProgress;
}

/** Of the progress of an evaluation, whatever it is of: every score names what it depends on. */
const FACTS = { evaluation: "scores by what they depend on" };

/**
 * Evaluates with a keeper of scores.
 * @throws GpruneError LOCKED when another evaluation is at the directory; OUTPUT_EXISTS and BAD_CHECKPOINT when it
 *   holds something else; OUTPUT_FAILED; BAD_ARGUMENT for a model in memory, of which nobody can tell whether it is the
 *   same
 */
export async function withKeptScores<T>(
  { keep, signal, device, onProgress }: KeepOptions,
  evaluate: (keeper: ScoreKeeper) => Promise<T>,
): Promise<T> {
  if (keep === undefined) return evaluate((_scored, compute) => compute());
  const directory = await RunDirectory.claimAt(keep, { resume: true, signal });
  try {
    directory.begin(FACTS);
    return await evaluate(keeperOf(directory, device, onProgress));
  } catch (error) {
    const isKept = directory.hasProgress && error instanceof GpruneError && error.code === "INTERRUPTED";
    throw isKept ? sayingHowToGoOn(error, keep) : error;
  } finally {
    await directory.leave();
  }
}

function sayingHowToGoOn(error: GpruneError, keep: string): GpruneError {
  const hint = `Finished texts and tasks are kept in ${keep}; the same command goes on from there.`;
  return error.inOtherWords({ hint });
}

function keeperOf(stages: Stages, device: Device, onProgress: OnProgress): ScoreKeeper {
  const hashesOf = (model: Model): Promise<Readonly<Record<string, string>>> =>
    modelHashes(requireFiles(model), onProgress);
  return async ({ kind, models, content }, compute) => {
    const facts = {
      kind,
      models: await Promise.all(models.map(hashesOf)),
      content,
      device,
      versions: versions(),
      processor: processor(),
    };
    return stages.run(`${kind} ${hashOf(facts)}`, compute);
  };
}

function requireFiles(model: Model): Model {
  if (model.origin.path !== undefined) return model;
  const { name } = model.origin;
  throw new GpruneError(
    "BAD_ARGUMENT",
    `${name}: expected a model from files to keep scores of, got one in memory`,
  );
}

/**
 * SHA-256 of a value as JSON, where tokens are hashes as well: all of a long text are no string. Places in files change
 * no score.
 */
function hashOf(value: unknown): string {
  const json = JSON.stringify(value, (key, item: unknown) => {
    if (key === "where") return undefined;
    return item instanceof Int32Array ? sha256Hex(item) : item;
  });
  return sha256Hex(json);
}
