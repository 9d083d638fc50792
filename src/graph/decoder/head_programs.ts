/** The graphs that are run on the head, one entry each: what it computes for evaluation, gradients and generation. */
import type { ModelSpec } from "../../model/spec.ts";
import { gradients } from "../ir/differentiate.ts";
import { type Graph, GraphBuilder, type Value } from "../ir/graph.ts";
import type { Dim } from "../ir/shapes.ts";
import { addLogits, buildLogits } from "./head.ts";

/** Programs of the head. */
export type HeadProgram =
  | "logits"
  | "loss"
  | "ranking"
  | "divergence"
  | "lossBackward"
  | "divergenceBackward";

/**
 * Inputs hidden [M, C], norm [C], projection [V, C].
 * - `logits`: logits [M, V]
 * - `loss`: with targets int32 [M, A], alternatives for the next token: `nll` [M, A] = -log p(target), nats
 * - `ranking`: what `loss` gives, and `best` [M, 1], the smallest -log p of any token
 * - `divergence`: with targets [M, 1], and of another model `teacher` [M, C], `teacherNorm`, `teacherProjection`: `nll`
 *   [M, 1]; `divergence` [M, 1] = KL(teacher's distribution || own), nats; `agreement` [M, 1], 1 where both put the
 *   same token first
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
    const { nll, logs } = addLoss(b, spec, "A");
    b.output("nll", nll);
    b.output("best", b.neg(b.reduceMax(logs, [-1])));
    return b.finish();
  },
  divergence: buildDivergence,
  lossBackward: buildLossBackward,
  divergenceBackward: buildDivergenceBackward,
};

/** Hidden states, and logits and log-probabilities that come of them. */
type HeadLogs = Readonly<Record<"input" | "logits" | "logs", Value>>;

function addLoss(
  b: GraphBuilder,
  spec: ModelSpec,
  alternatives: Dim,
): HeadLogs & Readonly<Record<"targets" | "nll", Value>> {
  const [{ input, logits }] = buildLogits(b, spec) as [{ input: Value; logits: Value }];
  const targets = b.input("targets", ["M", alternatives], "int32");
  const logs = b.logSoftmax(logits);
  return { input, logits, logs, targets, nll: b.neg(b.gatherElements(logs, targets)) };
}

/** The gradient of -log p(target) by logits is p, but p - 1 at the target. */
function buildLossBackward(spec: ModelSpec): Graph {
  const b = new GraphBuilder();
  const { targets, ...loss } = addLoss(b, spec, 1);
  const upstream = b.input("upstream", ["M", 1]);
  const minusOne = b.sub(b.zerosLike(upstream), b.scalar(1));
  addBackward(b, { ...loss, upstream, pull: b.scatterAdd(b.exp(loss.logs), targets, minusOne) });
  return b.finish();
}

/** The gradient of KL(q || p) by the logits of p is p - q. */
function buildDivergenceBackward(spec: ModelSpec): Graph {
  const b = new GraphBuilder();
  const [own, teacher] = buildLogits(b, spec, ["hidden", "teacher"]).map(({ input, logits }) => {
    return { input, logits, logs: b.logSoftmax(logits) };
  }) as [HeadLogs, HeadLogs];
  const nll = divergence(b, own.logs, teacher.logs);
  const upstream = b.input("upstream", ["M", 1]);
  addBackward(b, { ...own, nll, upstream, pull: b.sub(b.exp(own.logs), b.exp(teacher.logs)) });
  return b.finish();
}

/**
 * @param pull - gradient of `nll` by logits, [M, V]: written down, since what differentiating its operators gives goes
 *   over all words twice as often. What a row counts comes in at the end, where rows are short
 */
function addBackward(
  b: GraphBuilder,
  { input, logits, nll, upstream, pull }: HeadLogs & Readonly<Record<"nll" | "upstream" | "pull", Value>>,
): void {
  const [gradient] = gradients(b, new Map([[logits, pull]]), [input]);
  b.output("nll", nll);
  b.output("hidden", b.mul(gradient!, upstream));
}

/** Compares two heads of equal structure; both distributions exist only inside the graph. */
function buildDivergence(spec: ModelSpec): Graph {
  const b = new GraphBuilder();
  const { nll, logits } = addLoss(b, spec, 1);
  const input = b.input("teacher", ["M", spec.hiddenSize]);
  const norm = b.input("teacherNorm", [spec.hiddenSize]);
  const projection = b.input("teacherProjection", ["V", spec.hiddenSize]);
  const project = (x: Value): Value => b.matmul(x, projection, { transB: true });
  const teacher = addLogits(b, spec, { input, norm, project });
  b.output("nll", nll);
  b.output("divergence", divergence(b, b.logSoftmax(logits), b.logSoftmax(teacher)));
  const first = (x: Value): Value => {
    return b.operator("ArgMax", [x], { shape: ["M", 1], type: "int64", attributes: { axis: -1 } });
  };
  const same = b.operator("Equal", [first(logits), first(teacher)], { shape: ["M", 1], type: "bool" });
  b.output("agreement", b.cast(same, "float32"));
  return b.finish();
}

/** sum over words of p_teacher * (log p_teacher - log p), from logarithms of both [M, V]: [M, 1]. */
function divergence(b: GraphBuilder, own: Value, teacher: Value): Value {
  return b.reduceSum(b.mul(b.exp(teacher), b.sub(teacher, own)), [-1]);
}
