/**
 * Keeps the score of every finished text and task, so that an interrupted evaluation resumes where it was. Scores are
 * stored by the hash of everything they depend on: models, tokens, device, versions, instruction sets. So exactly the
 * scores whose inputs have changed are computed again; names and paths do not matter.
 */

import { badArgument } from "../base/arguments.ts";
import { versions } from "../base/package.ts";
import type { OnProgress } from "../base/progress.ts";
import type { Stages } from "../base/stages.ts";
import { type GpruneError, hasCode } from "../errors.ts";
import type { Device } from "../graph/runtime/device.ts";
import { processor } from "../io/files/machine.ts";
import { RunDirectory } from "../io/run/directory.ts";
import { sha256Hex } from "../io/store/sha256.ts";
import { modelHashes } from "../model/checkpoint/model_hashes.ts";
import type { Model } from "../model/model.ts";

/** The inputs of a score. */
export interface Scored {
  /** The measure. */
  readonly kind: "perplexity" | "divergence" | "task";
  readonly models: readonly Model[];
  /** Windows or documents, in tokens. */
  readonly content: readonly unknown[];
}

/** Returns a kept score, or computes and keeps it. Scores are plain values, see base/stages.ts. */
export type ScoreKeeper = <Score>(scored: Scored, compute: () => Promise<Score>) => Promise<Score>;

export interface KeepOptions {
  /** Directory for finished scores, created if missing; scores are not kept when absent. */
  readonly resumeDirectory?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Part of the hash, since results on another device differ in their last digits. */
  readonly device: Device;
  readonly onProgress: OnProgress;
}

/** Facts of the progress directory, the same for every evaluation: each score's name holds the hash of its inputs. */
const FACTS = { evaluation: "scores by what they depend on" };

/**
 * Evaluates with scores kept in `resumeDirectory`.
 * @throws GpruneError LOCKED when another evaluation uses the directory; OUTPUT_EXISTS and BAD_CHECKPOINT when it holds
 *   something else; OUTPUT_FAILED; BAD_ARGUMENT for a model in memory, which has no files to hash
 */
export async function withKeptScores<T>(
  { resumeDirectory, signal, device, onProgress }: KeepOptions,
  evaluate: (keeper: ScoreKeeper) => Promise<T>,
): Promise<T> {
  if (resumeDirectory === undefined) return evaluate((_scored, compute) => compute());
  const directory = await RunDirectory.claimAt(resumeDirectory, { resume: true, signal });
  try {
    directory.begin(FACTS);
    return await evaluate(keeperOf(directory, device, onProgress));
  } catch (error) {
    const isKept = directory.hasProgress && hasCode(error, "INTERRUPTED");
    throw isKept ? withResumeHint(error, resumeDirectory) : error;
  } finally {
    await directory.leave();
  }
}

function withResumeHint(error: GpruneError, path: string): GpruneError {
  const hint = `Finished texts and tasks are kept in ${path}; repeat the command to continue from there.`;
  return error.inOtherWords({ hint });
}

function keeperOf(stages: Stages, device: Device, onProgress: OnProgress): ScoreKeeper {
  const hashesOf = (model: Model): Promise<Readonly<Record<string, string>>> =>
    modelHashes(requireFiles(model), onProgress);
  return async ({ kind, models, content }, compute) => {
    const facts = {
      kind,
      models: await Promise.all(models.map(hashesOf)),
      // One by one: the contexts of many questions together exceed the longest string.
      content: content.map(hashOf),
      device,
      versions: versions(),
      processor: processor(),
    };
    return stages.run(`${kind} ${hashOf(facts)}`, compute);
  };
}

function requireFiles(model: Model): Model {
  if (model.origin.path !== undefined) return model;
  throw badArgument(model.origin.name, "a model from files to keep scores of", "one in memory");
}

/**
 * SHA-256 of a value as JSON. Tokens enter as hashes, since those of a long text exceed the longest string; `where`,
 * the place in a file, changes no score and is left out.
 */
function hashOf(value: unknown): string {
  const json = JSON.stringify(value, (key, item: unknown) => {
    if (key === "where") return undefined;
    return item instanceof Int32Array ? sha256Hex(item) : item;
  });
  return sha256Hex(json);
}
