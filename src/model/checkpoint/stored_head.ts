/**
 * The output matrix of a Hugging Face checkpoint whose config.json ties it to the embedding. The tensors in the file
 * decide, as in transformers 5 (`tie_weights` of modeling_utils.py).
 */

import type { TensorSource } from "../../tensor/tensor.ts";
import type { ModelSpec } from "../spec.ts";
import { EMBEDDING, HEAD } from "../weight_names.ts";
import { withAlias } from "./stored_names.ts";

/** Elements of each matrix that are read and compared at a time. */
const COMPARED_ELEMENTS = 2 ** 22;

/** A model that is being opened. */
interface SpecAndWeights {
  readonly spec: ModelSpec;
  readonly weights: TensorSource;
}

/**
 * Keeps the declared tie unless the file has an output matrix with other values, which was trained separately. An
 * output matrix without an embedding is both: of tensors that share memory, safetensors' `save_model` keeps the name
 * that comes first.
 */
export async function withStoredHead({ spec, weights }: SpecAndWeights): Promise<SpecAndWeights> {
  if (!spec.tiedEmbeddings || weights.info(HEAD) === undefined) return { spec, weights };
  if (weights.info(EMBEDDING) === undefined)
    return { spec, weights: withAlias(weights, { stored: HEAD, alias: EMBEDDING }) };
  return { spec: { ...spec, tiedEmbeddings: await areEqual({ spec, weights }) }, weights };
}

/**
 * Whether both matrices have the right shape and the same values. NaN equals nothing; it is reported when the weights
 * are read.
 */
async function areEqual({ spec, weights }: SpecAndWeights): Promise<boolean> {
  const { vocabSize: rows, hiddenSize: columns } = spec;
  const hasShape = (name: string): boolean => weights.info(name)!.shape.join() === `${rows},${columns}`;
  if (!hasShape(EMBEDDING) || !hasShape(HEAD)) return false;
  const step = Math.max(1, Math.floor(COMPARED_ELEMENTS / columns));
  for (let start = 0; start < rows; start += step) {
    const range = { start, end: Math.min(rows, start + step) };
    const { data: embedding } = await weights.read(EMBEDDING, range);
    const { data: head } = await weights.read(HEAD, range);
    if (embedding.some((value, i) => value !== head[i])) return false;
  }
  return true;
}
