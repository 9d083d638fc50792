/** The head as a graph: final norm and vocabulary projection, and the family's scaling and capping of logits. */
import type { ModelSpec } from "../../model/spec.ts";
import type { GraphBuilder, Value } from "../ir/graph.ts";
import { capped, rmsNorm } from "./formulas.ts";

/** Properties that the head's graph depends on. */
export type HeadStructure = Pick<
  ModelSpec,
  "hiddenSize" | "normEps" | "normOffset" | "logitDivisor" | "logitSoftcap"
>;

/** The head's part of a spec; equal parts give equal graphs. */
export function headStructure(spec: ModelSpec): HeadStructure {
  const { hiddenSize, normEps, normOffset, logitDivisor, logitSoftcap } = spec;
  return { hiddenSize, normEps, normOffset, logitDivisor, logitSoftcap };
}

/**
 * Adds final norm and vocabulary projection: inputs `norm` [C], `projection` [V, C], and `hidden` [M, C] with any
 * number of other streams of the same shape by name.
 * @returns input and logits [M, V] of every stream
 */
export function buildLogits(
  b: GraphBuilder,
  spec: HeadStructure,
  streams: readonly string[] = ["hidden"],
): readonly { readonly input: Value; readonly logits: Value }[] {
  const inputs = streams.map((name) => b.input(name, ["M", spec.hiddenSize]));
  const norm = b.input("norm", [spec.hiddenSize]);
  const projection = b.input("projection", ["V", spec.hiddenSize]);
  const project = (x: Value): Value => b.matmul(x, projection, { transB: true });
  return inputs.map((input) => ({ input, logits: addLogits(b, spec, { input, norm, project }) }));
}

/** Adds final norm and vocabulary projection whose inputs are values of a larger graph; gives float32 logits. */
export function addLogits(
  b: GraphBuilder,
  spec: HeadStructure,
  head: { readonly input: Value; readonly norm: Value; readonly project: (x: Value) => Value },
): Value {
  const products = b.cast(head.project(rmsNorm(b, head.input, { ...spec, weight: head.norm })), "float32");
  const logits = spec.logitDivisor === 1 ? products : b.div(products, b.scalar(spec.logitDivisor));
  return capped(b, logits, spec.logitSoftcap);
}
