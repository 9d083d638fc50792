/** Several models in one table: what they are, how they do, how far they are from the first. */
import type { TextSet } from "../calibrate/windows.ts";
import type { Runtime } from "../graph/runtime/runtime.ts";
import type { Model } from "../model/model.ts";
import { parameterCount, prunableParameters } from "../model/spaces.ts";
import { storedBytes } from "../model/stored_size.ts";
import { type EvaluateOptions, type Evaluation, evaluateTogether, type FromFirst } from "./evaluate.ts";
import { type Latency, type LatencyOptions, measureLatency, requireAnswerable } from "./latency.ts";

/** One model of a comparison; plain JSON, as `gprune compare --json` prints it. */
export interface ComparedModel extends Evaluation {
  readonly dtype: string;
  readonly parameters: { readonly total: number; readonly prunable: number };
  /** Bytes of the weights as stored. */
  readonly bytes: number;
  readonly widths: { readonly ffn: readonly number[]; readonly kv: readonly number[] };
  /** Distance from the first model by text; absent in the first, null when they cannot be compared. */
  readonly divergence?: FromFirst["divergence"];
  /** Why not. */
  readonly incomparable?: string;
  /**
   * Whether its tokenizer cuts the texts into other tokens than the first one's, so that perplexities do not compare.
   */
  readonly other_tokens?: true;
  /** How fast it is, when that was asked. */
  readonly speed?: Latency;
}

/**
 * Compares models with the first one. Without texts and tasks only what they are is compared, and nothing is computed.
 * @throws GpruneError as `evaluate`
 */
export async function compareModels(
  { models, runtime }: { readonly models: readonly Model[]; readonly runtime: Runtime },
  texts: readonly TextSet[],
  { speed, ...options }: EvaluateOptions & { readonly speed?: LatencyOptions | undefined },
): Promise<readonly ComparedModel[]> {
  if (speed !== undefined) requireAnswerable(models, speed);
  const evaluations =
    texts.length + (options.tasks?.length ?? 0) === 0
      ? models.map(({ origin }) => ({ model: origin.name, texts: {}, tasks: {} }))
      : await evaluateTogether({ models, runtime }, texts, options);
  const latencies = speed === undefined ? [] : await measureLatency({ models, runtime }, speed);
  return models.map((model, index) => {
    const { fromFirst, ...evaluation }: Evaluation & { readonly fromFirst?: FromFirst } = evaluations[index]!;
    const { spec, origin } = model;
    return {
      ...evaluation,
      dtype: origin.dtype,
      parameters: { total: parameterCount(spec), prunable: prunableParameters(spec) },
      bytes: storedBytes(model),
      widths: {
        ffn: spec.layers.map(({ neurons }) => neurons),
        kv: spec.layers.map(({ kvGroups }) => kvGroups),
      },
      ...fromFirst,
      ...(latencies.length > 0 && { speed: latencies[index]! }),
    };
  });
}
