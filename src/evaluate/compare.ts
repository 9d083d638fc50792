/** Several models in one table: size and shape, scores, speed, and distance from the first model. */
import type { NamedText } from "../calibrate/text_sets.ts";
import type { Runtime } from "../graph/runtime/runtime.ts";
import type { Model } from "../model/model.ts";
import { parameterCount } from "../model/parameter_counts.ts";
import { prunableParameters } from "../model/spaces.ts";
import { expertCounts } from "../model/spec.ts";
import { storedBytes } from "../model/stored_size.ts";
import {
  type ComparedEvaluation,
  type EvaluateOptions,
  type Evaluation,
  evaluateTogether,
  type FromFirst,
} from "./evaluate.ts";
import { type Latency, type LatencyOptions, measureLatency, requireWorkloadFits } from "./latency.ts";

/** One model of a comparison; plain JSON, as `gprune compare --json` prints it. */
export interface ComparedModel extends Evaluation {
  readonly dtype: string;
  readonly parameters: { readonly total: number; readonly prunable: number };
  /** Bytes of the weights as stored. */
  readonly bytes: number;
  readonly widths: { readonly ffn: readonly number[]; readonly kv: readonly number[] };
  /** Experts by layer, whose neurons `widths` counts together; absent in models without any. */
  readonly experts?: readonly number[];
  /** Distance from the first model by text; absent in the first, null when the two cannot be compared. */
  readonly divergence?: FromFirst["divergence"];
  /** Why the two cannot be compared. */
  readonly incomparable?: string;
  /** Set where the model's tokenizer gives other tokens than the first one's, so that perplexities do not compare. */
  readonly other_tokens?: true;
  /** Latency; absent unless it was measured. */
  readonly speed?: Latency;
}

/**
 * Compares models with the first one. Without texts, tasks and `speed`, only sizes and shapes: no model runs.
 * @throws GpruneError as `evaluate`
 */
export async function compareModels(
  { models, runtime }: { readonly models: readonly Model[]; readonly runtime: Runtime },
  texts: readonly NamedText[],
  { speed, ...options }: EvaluateOptions & { readonly speed?: LatencyOptions | undefined } = {},
): Promise<readonly ComparedModel[]> {
  if (speed !== undefined) requireWorkloadFits(models, speed);
  const evaluations =
    texts.length + (options.tasks?.length ?? 0) === 0
      ? models.map(({ origin }) => ({ model: origin.name, texts: {}, tasks: {} }))
      : await evaluateTogether({ models, runtime }, texts, options);
  const latencies = speed === undefined ? [] : await measureLatency({ models, runtime }, speed);
  return models.map((model, index) => {
    const { fromFirst, ...evaluation }: ComparedEvaluation = evaluations[index]!;
    const { spec, origin } = model;
    const experts = expertCounts(spec);
    return {
      ...evaluation,
      dtype: origin.dtype,
      parameters: { total: parameterCount(spec), prunable: prunableParameters(spec) },
      bytes: storedBytes(model),
      widths: {
        ffn: spec.layers.map(({ neurons }) => neurons),
        kv: spec.layers.map(({ kvGroups }) => kvGroups),
      },
      ...(experts && { experts }),
      ...fromFirst,
      ...(latencies.length > 0 && { speed: latencies[index]! }),
    };
  });
}
