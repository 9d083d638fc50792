/**
 * Which output matrix a Hugging Face checkpoint has where config.json says that it is the embedding. What is in the
 * file counts, as in transformers 5 (`tie_weights` of modeling_utils.py).
 */

import type { TensorSource } from "../../tensor/tensor.ts";
import { EMBEDDING, HEAD } from "../spaces.ts";
import type { ModelSpec } from "../spec.ts";
import { renamedSource } from "./stored_names.ts";

/** Elements of each matrix that are compared at once. */
const COMPARED = 2 ** 22;

/** A model's spec and weights, as far as they are known. */
interface Read {
  readonly spec: ModelSpec;
  readonly weights: TensorSource;
}

/**
 * Tied as declared, unless there is an output matrix with other numbers, which was trained for itself. One that stands
 * in place of the embedding is both: of tensors that share memory, safetensors' `save_model` keeps the name that comes
 * first.
 */
export async function withStoredHead({ spec, weights }: Read): Promise<Read> {
  if (!spec.tiedEmbeddings || weights.info(HEAD) === undefined) return { spec, weights };
  if (weights.info(EMBEDDING) === undefined) return { spec, weights: renamed(weights, HEAD, EMBEDDING) };
  return { spec: { ...spec, tiedEmbeddings: await areEqual({ spec, weights }) }, weights };
}

/** Whether both matrices are as they should be, and the same; NaN equals nothing; reading the weights reports it. */
async function areEqual({ spec, weights }: Read): Promise<boolean> {
  const { vocabSize: rows, hiddenSize: columns } = spec;
  const hasShape = (name: string): boolean => weights.info(name)!.shape.join() === `${rows},${columns}`;
  if (!hasShape(EMBEDDING) || !hasShape(HEAD)) return false;
  const step = Math.max(1, Math.floor(COMPARED / columns));
  for (let start = 0; start < rows; start += step) {
    const part = { start, end: Math.min(rows, start + step) };
    const [{ data: own }, { data: head }] = [
      await weights.read(EMBEDDING, part),
      await weights.read(HEAD, part),
    ];
    if (own.some((value, i) => value !== head[i])) return false;
  }
  return true;
}

/** The same tensors, one of them under another name. */
function renamed(source: TensorSource, stored: string, name: string): TensorSource {
  return renamedSource(source, {
    nameOf: (own) => (own === stored ? name : own),
    storedAs: (asked) => (asked === name ? stored : asked),
  });
}
