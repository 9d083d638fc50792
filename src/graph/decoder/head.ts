/** The head as a graph: final norm and vocabulary projection, and the family's scaling and capping of logits. */

import type { ModelSpec } from "../../model/spec.ts";
import { EMBEDDING, FINAL_NORM, FINAL_NORM_BIAS, HEAD, HEAD_BIAS } from "../../model/weight_names.ts";
import { NORM_PARTS } from "../../model/weights.ts";
import type { Value } from "../ir/graph.ts";
import type { GraphBuilder } from "../ir/graph_builder.ts";
import type { Dim } from "../ir/shapes.ts";
import { capped, type NormRule, norm } from "./formulas.ts";

/** Properties that the head's graph depends on. */
export type HeadStructure = NormRule &
  Pick<ModelSpec, "hiddenSize" | "headBias" | "logitDivisor" | "logitSoftcap">;

/** The head's part of a spec; equal parts give equal graphs. */
export function headStructure(spec: ModelSpec): HeadStructure {
  const { hiddenSize, normType, normEps, normOffset, normParameters, headBias, logitDivisor, logitSoftcap } =
    spec;
  return { hiddenSize, normType, normEps, normOffset, normParameters, headBias, logitDivisor, logitSoftcap };
}

/** Names in the checkpoint of the head's weights, by their names in the graph. */
export function headWeights({
  tiedEmbeddings,
  normParameters,
  headBias,
}: ModelSpec): Readonly<
  Record<"projection", string> & Partial<Record<"norm" | "normBias" | "bias", string>>
> {
  const parts = NORM_PARTS[normParameters];
  return {
    ...(parts.includes("weight") && { norm: FINAL_NORM }),
    ...(parts.includes("bias") && { normBias: FINAL_NORM_BIAS }),
    projection: tiedEmbeddings ? EMBEDDING : HEAD,
    ...(headBias && { bias: HEAD_BIAS }),
  };
}

/** Weights and products of a head. */
export interface HeadSupply {
  /** The final norm's weight and bias, [C], and the bias of the logits, [V]; null for those that the head lacks. */
  readonly norm: Value | null;
  readonly normBias: Value | null;
  readonly bias: Value | null;
  /** Vocabulary projection: [.., C] gives [.., V]. */
  readonly project: (x: Value) => Value;
}

/** Options of {@link headInputs}. */
export interface HeadInputOptions {
  /** Prefix of the names; none when absent. */
  readonly prefix?: string;
  /** The vocabulary projection and V, if its matrix is not an input. */
  readonly matrix?: { readonly project: HeadSupply["project"]; readonly rows: number };
}

/** Weights of a head as inputs of the graph, under the names of `headWeights`. */
export function headInputs(
  b: GraphBuilder,
  { hiddenSize, normParameters, headBias }: HeadStructure,
  { prefix = "", matrix }: HeadInputOptions = {},
): HeadSupply {
  const input = (name: string, shape: readonly Dim[]): Value => b.input(`${prefix}${name}`, shape);
  const parts = NORM_PARTS[normParameters];
  return {
    norm: parts.includes("weight") ? input("norm", [hiddenSize]) : null,
    normBias: parts.includes("bias") ? input("normBias", [hiddenSize]) : null,
    project: matrix?.project ?? productWith(b, input("projection", ["V", hiddenSize])),
    bias: headBias ? input("bias", [matrix?.rows ?? "V"]) : null,
  };
}

function productWith(b: GraphBuilder, matrix: Value): (x: Value) => Value {
  return (x) => b.matmul(x, matrix, { transB: true });
}

/**
 * Adds final norm and vocabulary projection: inputs `hidden` [M, C], with any number of other streams of the same shape
 * by name, and those of `headInputs`.
 * @returns input and logits [M, V] of every stream
 */
export function buildLogits(
  b: GraphBuilder,
  spec: HeadStructure,
  streams: readonly string[] = ["hidden"],
): readonly { readonly input: Value; readonly logits: Value }[] {
  const inputs = streams.map((name) => b.input(name, ["M", spec.hiddenSize]));
  const head = headInputs(b, spec);
  return inputs.map((input) => ({ input, logits: addLogits(b, spec, { input, ...head }) }));
}

/** Adds final norm and vocabulary projection whose inputs are values of a larger graph; gives float32 logits. */
export function addLogits(
  b: GraphBuilder,
  spec: HeadStructure,
  head: HeadSupply & { readonly input: Value },
): Value {
  const normed = norm(b, head.input, { ...spec, weight: head.norm, bias: head.normBias });
  const products = b.cast(head.project(normed), "float32");
  const biased = head.bias === null ? products : b.add(products, head.bias);
  const logits = spec.logitDivisor === 1 ? biased : b.div(biased, b.scalar(spec.logitDivisor));
  return capped(b, logits, spec.logitSoftcap);
}
