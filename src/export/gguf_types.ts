/** Chooses the ggml type of each tensor of a GGUF file from its name and shape alone. */

import type { GgufDType } from "../base/choices.ts";
import { type WrittenGgmlType, writtenGgmlType } from "../io/formats/ggml_encode.ts";
import {
  FILTER_TENSOR,
  INPUT_TENSORS,
  POSITION_TENSOR,
  ROUTER_TENSOR,
  STREAM_TENSOR,
} from "../model/gguf/names.ts";

interface Recipe {
  /** general.file_type, enum llama_ftype of llama.h. */
  readonly fileType: number;
  /** Types of a matrix, best first: the first whose blocks fit its rows. */
  readonly matrices: readonly WrittenGgmlType[];
  /** The same for the embedding and the output matrix, which quantisation harms most. */
  readonly embeddings: readonly WrittenGgmlType[];
}

function plain(fileType: number, type: WrittenGgmlType): Recipe {
  return { fileType, matrices: [type], embeddings: [type] };
}

/** As in llama-quantize, except that rows that are no multiple of 256 become Q8_0 instead of its Q5_0. */
const RECIPES: Readonly<Record<GgufDType, Recipe>> = {
  f32: plain(0, "F32"),
  f16: plain(1, "F16"),
  bf16: plain(32, "BF16"),
  q8_0: { fileType: 7, matrices: ["Q8_0", "F16"], embeddings: ["Q8_0", "F16"] },
  q4_0: { fileType: 2, matrices: ["Q4_0", "F16"], embeddings: ["Q6_K", "Q8_0", "F16"] },
  q4_k: { fileType: 14, matrices: ["Q4_K", "Q8_0", "F16"], embeddings: ["Q6_K", "Q8_0", "F16"] },
  q6_k: { fileType: 18, matrices: ["Q6_K", "Q8_0", "F16"], embeddings: ["Q6_K", "Q8_0", "F16"] },
};

const EMBEDDINGS: ReadonlySet<string> = new Set(["token_embd.weight", "output.weight", INPUT_TENSORS.table]);

interface Named {
  readonly name: string;
  readonly shape: readonly number[];
}

/** general.file_type. */
export function fileTypeOf(dtype: GgufDType): number {
  return RECIPES[dtype].fileType;
}

/**
 * Vectors, norms, filters, routers and embeddings of positions stay F32, as in every GGUF file; another matrix gets the
 * first type of its recipe that fits its rows.
 */
export function ggmlTypeOf({ name, shape }: Named, dtype: GgufDType): WrittenGgmlType {
  if (!isProduct({ name, shape })) return "F32";
  const types = wantedTypes(name, dtype);
  return types.find((type) => shape.at(-1)! % writtenGgmlType(type).blockSize === 0) ?? types.at(-1)!;
}

/** All but norms, which may have weights for each head, and the vectors of Mamba 2. */
const WEIGHT = /(?<!_norm)\.weight$/;

/** Whether a tensor is a matrix of products. */
function isProduct({ name, shape }: Named): boolean {
  const isExact = name === POSITION_TENSOR || FILTER_TENSOR.test(name) || ROUTER_TENSOR.test(name);
  return shape.length > 1 && WEIGHT.test(name) && !isExact;
}

/** Matrices with a column for each neuron, but not those of shared experts, which keep their widths. */
const PRUNED_ROWS = /\.ffn_down(_exps)?\.weight$/;

/** A warning that counts the matrices whose rows did not fit their recipe's first type; null when all did. */
export function fallbackWarning(tensors: readonly Named[], dtype: GgufDType): string | null {
  const matrices = tensors.filter(isProduct);
  const fallen = matrices.filter(
    (tensor) => ggmlTypeOf(tensor, dtype) !== wantedTypes(tensor.name, dtype)[0],
  );
  if (fallen.length === 0) return null;
  const counts = new Map<string, number>();
  for (const tensor of fallen) {
    const type = ggmlTypeOf(tensor, dtype);
    counts.set(type, (counts.get(type) ?? 0) + 1);
  }
  const { blockSize } = writtenGgmlType(RECIPES[dtype].matrices[0]!);
  const replacements = [...counts].map(([type, count]) => `${count} as ${type}`).join(", ");
  const hint = fallen.some(({ name }) => PRUNED_ROWS.test(name))
    ? `; gprune prune --round-to ${blockSize} makes the FFN widths of pruned layers fit`
    : "";
  return (
    `${fallen.length} of ${matrices.length} matrices are stored in larger types, since their rows do not fill whole ` +
    `${dtype.toUpperCase()} blocks: ${replacements}${hint}`
  );
}

function wantedTypes(name: string, dtype: GgufDType): readonly WrittenGgmlType[] {
  const { embeddings, matrices } = RECIPES[dtype];
  if (name === INPUT_TENSORS.projection || STREAM_TENSOR.test(name)) return matrices.slice(-1);
  return EMBEDDINGS.has(name) ? embeddings : matrices;
}
