/** The programs of the head, one graph each, for evaluation, gradients and generation. */
import type { ModelSpec } from "../../model/spec.ts";
import { gradients } from "../ir/differentiate.ts";
import type { Graph, Value } from "../ir/graph.ts";
import { GraphBuilder } from "../ir/graph_builder.ts";
import { gatherElements, scatterAdd } from "../ir/operators.ts";
import type { Dim } from "../ir/shapes.ts";
import { addLogits, buildLogits, headInputs } from "./head.ts";

/** Programs of the head. */
export type HeadProgram =
  | "logits"
  | "loss"
  | "ranking"
  | "divergence"
  | "lossBackward"
  | "divergenceBackward";

/**
 * Inputs hidden [M, C], norm [C], projection [V, C], and normBias [C] and bias [V] where the head has them.
 * - `logits`: logits [M, V]
 * - `loss`: with targets int32 [M, A], alternatives for the next token: `nll` [M, A] = -log p(target), nats
 * - `ranking`: the outputs of `loss`, and `best` [M, 1], the smallest -log p of any token
 * - `divergence`: with targets [M, 1], and of another model `teacher` [M, C] and its weights, `teacher.norm` and so on:
 *   `nll` [M, 1]; `divergence` [M, 1] = KL(teacher's distribution || hidden's), nats; `agreement` [M, 1], 1 where
 *   both rank the same token first
 * - `lossBackward`: with targets [M, 1] and `upstream` [M, 1] = d loss / d nll as inputs: nll and the gradient of
 *   hidden
 * - `divergenceBackward`: with `teacher` [M, C], the dense model's hidden states, and `upstream` [M, 1] = d loss / d
 *   divergence as inputs: `nll` [M, 1] = KL(teacher's distribution || hidden's), nats, and the gradient of hidden. The
 *   head is the same for both, so hidden states stand for log-probabilities and nothing of size V is ever stored.
 */
export const HEAD_PROGRAMS: Readonly<Record<HeadProgram, (spec: ModelSpec) => Graph>> = {
  logits: (spec) => {
    const b = new GraphBuilder();
    b.output("logits", buildLogits(b, spec)[0]!.logits);
    return b.finish();
  },
  loss: (spec) => {
    const b = new GraphBuilder();
    b.output("nll", addLoss(b, spec, "A").nll);
    return b.finish();
  },
  ranking: (spec) => {
    const b = new GraphBuilder();
    const { nll, logProbs } = addLoss(b, spec, "A");
    b.output("nll", nll);
    b.output("best", b.neg(b.reduceMax(logProbs, [-1])));
    return b.finish();
  },
  divergence: buildDivergence,
  lossBackward: buildLossBackward,
  divergenceBackward: buildDivergenceBackward,
};

/** Hidden states with their logits and log-probabilities. */
type HeadValues = Readonly<Record<"input" | "logits" | "logProbs", Value>>;

function addLoss(
  b: GraphBuilder,
  spec: ModelSpec,
  alternatives: Dim,
): HeadValues & Readonly<Record<"targets" | "nll", Value>> {
  const [{ input, logits }] = buildLogits(b, spec) as [{ input: Value; logits: Value }];
  const targets = b.input("targets", ["M", alternatives], "int32");
  const logProbs = b.logSoftmax(logits);
  return { input, logits, logProbs, targets, nll: b.neg(gatherElements(b, logProbs, targets)) };
}

/** The gradient of -log p(target) with respect to logits is p, and p - 1 at the target. */
function buildLossBackward(spec: ModelSpec): Graph {
  const b = new GraphBuilder();
  const { targets, ...loss } = addLoss(b, spec, 1);
  const upstream = b.input("upstream", ["M", 1]);
  const minusOne = b.sub(b.zerosLike(upstream), b.scalar(1));
  const gradient = scatterAdd(b, b.exp(loss.logProbs), { index: targets, updates: minusOne });
  addBackward(b, { ...loss, upstream, gradient });
  return b.finish();
}

/** The gradient of KL(q || p) with respect to the logits of p is p - q. */
function buildDivergenceBackward(spec: ModelSpec): Graph {
  const b = new GraphBuilder();
  const [student, teacher] = buildLogits(b, spec, ["hidden", "teacher"]).map(({ input, logits }) => {
    return { input, logits, logProbs: b.logSoftmax(logits) };
  }) as [HeadValues, HeadValues];
  const nll = divergence(b, student.logProbs, teacher.logProbs);
  const upstream = b.input("upstream", ["M", 1]);
  const gradient = b.sub(b.exp(student.logProbs), b.exp(teacher.logProbs));
  addBackward(b, { ...student, nll, upstream, gradient });
  return b.finish();
}

/**
 * Adds the outputs of a backward program. `upstream` is multiplied in last, where rows are short.
 * @param gradient - of `nll` with respect to logits, [M, V], in closed form: differentiating the operators of `nll`
 *   would go over the vocabulary twice as often
 */
function addBackward(
  b: GraphBuilder,
  {
    input,
    logits,
    nll,
    upstream,
    gradient,
  }: HeadValues & Readonly<Record<"nll" | "upstream" | "gradient", Value>>,
): void {
  const [hidden] = gradients(b, new Map([[logits, gradient]]), [input]);
  b.output("nll", nll);
  b.output("hidden", b.mul(hidden!, upstream));
}

/** Compares two heads of equal structure; both distributions exist only inside the graph. */
function buildDivergence(spec: ModelSpec): Graph {
  const b = new GraphBuilder();
  const { nll, logits } = addLoss(b, spec, 1);
  const input = b.input("teacher", ["M", spec.hiddenSize]);
  const teacher = addLogits(b, spec, { input, ...headInputs(b, spec, { prefix: "teacher." }) });
  b.output("nll", nll);
  b.output("divergence", divergence(b, b.logSoftmax(logits), b.logSoftmax(teacher)));
  const first = (x: Value): Value => {
    return b.operator("ArgMax", [x], { shape: ["M", 1], type: "int64", attributes: { axis: -1 } });
  };
  const same = b.operator("Equal", [first(logits), first(teacher)], { shape: ["M", 1], type: "bool" });
  b.output("agreement", b.cast(same, "float32"));
  return b.finish();
}

/** KL(teacher || student) = sum of p_teacher (log p_teacher - log p_student), from log-probabilities [M, V]: [M, 1]. */
function divergence(b: GraphBuilder, student: Value, teacher: Value): Value {
  return b.reduceSum(b.mul(b.exp(teacher), b.sub(teacher, student)), [-1]);
}
