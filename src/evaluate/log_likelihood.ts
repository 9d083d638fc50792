/**
 * Log-probabilities of continuations. Continuations that begin alike are computed once up to where they part: they are
 * packed into forests of prefixes (graph/decoder/prefix_forest.ts), and a continuation's last token, which predicts
 * nothing, is not computed at all. The head sees only the positions that something is predicted from.
 */

import { getOrMake } from "../base/map_values.ts";
import { type Reporting, silent } from "../base/progress.ts";
import { GpruneError } from "../errors.ts";
import { type DecoderRunner, type LoadedHead, requireKnownTokens } from "../graph/decoder/decoder_runner.ts";
import { embedForests, forwardLayers, MAX_HIDDEN_BYTES } from "../graph/decoder/forward.ts";
import { hasSameFrequencies } from "../graph/decoder/frequencies.ts";
import { MAX_FOREST_TOKENS, PrefixForest, type TokenForest } from "../graph/decoder/prefix_forest.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Tokens whose last ones are to be predicted. */
export interface Continuation {
  /** Context and continuation, token ids. */
  readonly ids: Int32Array;
  /** Tokens of the context, at least one. */
  readonly context: number;
}

/** How a model sees a continuation. */
export interface LogLikelihood {
  /** log p(continuation | context), nats: the sum over its tokens in float64. */
  readonly sum: number;
  /** Whether every token of it is the most probable one. */
  readonly isGreedy: boolean;
}

/** A forest, and the continuations in it. */
interface Pack {
  readonly forest: TokenForest;
  readonly members: readonly Member[];
}

interface Member extends Continuation {
  /** Place among all continuations. */
  readonly index: number;
  /** Nodes of all tokens but the last. */
  readonly nodes: Int32Array;
}

/** Nodes of a pack: few, since attention looks at all pairs of them; packs go through the layers several at a time. */
const PACK_TOKENS = 256;

/**
 * Log-probabilities of continuations after their contexts.
 * @param continuations - those with common beginnings next to one another
 * @throws GpruneError BAD_TEXT for a token that the model does not have, and without a context or a continuation
 */
export async function logLikelihoods(
  runner: DecoderRunner,
  continuations: readonly Continuation[],
  { stage = "evaluate", onProgress = silent }: Partial<Reporting> = {},
): Promise<readonly LogLikelihood[]> {
  for (const continuation of continuations) {
    requireBothParts(continuation);
    requireKnownTokens(continuation.ids, runner.model.spec.vocabSize);
  }
  const packs = packContinuations(runner.model.spec, continuations);
  const total = countNodes(packs);
  const head = await runner.loadHead();
  const results: LogLikelihood[] = Array(continuations.length);
  let seen = 0;
  for (const lot of lotsOf(packs, MAX_HIDDEN_BYTES / (4 * runner.model.spec.hiddenSize))) {
    const base = seen;
    const { batches, places } = await embedForests(
      runner,
      lot.map(({ forest }) => forest),
    );
    await forwardLayers(runner, batches, {
      stage,
      // Padding counts there, and not here.
      onProgress: (event) =>
        onProgress({ ...event, done: base + (event.done / event.total) * countNodes(lot), total }),
    });
    for (const [index, { members }] of lot.entries()) {
      const { batch, row } = places[index]!;
      const { hidden, tokens } = batches[batch]!;
      const own = await likelihoodsOf(runner, head, { hidden, first: row * tokens, members });
      for (const [position, member] of members.entries()) results[member.index] = own[position]!;
    }
    seen += countNodes(lot);
  }
  return results;
}

function requireBothParts({ ids, context }: Continuation): void {
  if (Number.isInteger(context) && context >= 1 && context < ids.length) return;
  const expected = `a context of 1 to ${ids.length - 1} of its ${ids.length} tokens`;
  throw new GpruneError("BAD_TEXT", `continuation: expected ${expected}, got ${context}`);
}

/**
 * A continuation joins the last pack when it fits, or when most of it is there already and the pack stays small. One
 * too long for a forest shares its pack with what is the same but for the last tokens alone. All of a pack are rotated
 * by the same frequencies.
 */
function packContinuations(spec: ModelSpec, continuations: readonly Continuation[]): readonly Pack[] {
  const packs: Pack[] = [];
  let forest = new PrefixForest();
  let members: Member[] = [];
  const close = (): void => {
    if (members.length > 0) packs.push({ forest: forest.finish(), members });
    forest = new PrefixForest();
    members = [];
  };
  for (const [index, continuation] of continuations.entries()) {
    const inputs = continuation.ids.subarray(0, -1);
    const first = members[0]?.nodes.length ?? inputs.length;
    if (!joins(forest, inputs) || !hasSameFrequencies(spec, [first, inputs.length])) close();
    members.push({ ...continuation, index, nodes: forest.add(inputs) });
  }
  close();
  return packs;
}

function joins(forest: PrefixForest, inputs: Int32Array): boolean {
  const shared = forest.shared(inputs);
  const size = forest.size + inputs.length - shared;
  const room = shared > inputs.length / 2 ? 2 * Math.max(PACK_TOKENS, inputs.length) : PACK_TOKENS;
  if (size <= Math.min(room, MAX_FOREST_TOKENS)) return true;
  const isPrefix = shared === Math.min(forest.size, inputs.length);
  return size <= room && isPrefix && forest.isSequence;
}

/** Consecutive packs of at most `maxNodes` nodes together, at least one pack in each lot. */
function lotsOf(packs: readonly Pack[], maxNodes: number): readonly (readonly Pack[])[] {
  const lots: Pack[][] = [];
  let nodes = Number.POSITIVE_INFINITY;
  for (const pack of packs) {
    nodes += pack.forest.ids.length;
    if (nodes <= maxNodes) lots.at(-1)!.push(pack);
    else {
      lots.push([pack]);
      nodes = pack.forest.ids.length;
    }
  }
  return lots;
}

function countNodes(packs: readonly Pack[]): number {
  return packs.reduce((sum, { forest }) => sum + forest.ids.length, 0);
}

/** What the outputs of the last layer say about a pack's continuations; its nodes are rows from `first` on. */
async function likelihoodsOf(
  runner: DecoderRunner,
  head: LoadedHead,
  {
    hidden: outputs,
    first,
    members,
  }: { readonly hidden: Tensor; readonly first: number; readonly members: readonly Member[] },
): Promise<readonly LogLikelihood[]> {
  const predictions = predictionsOf(members);
  let width = 0;
  for (const { targets } of predictions.values()) width = Math.max(width, targets.size);
  const size = runner.model.spec.hiddenSize;
  const hidden = new Float32Array(predictions.size * size);
  const targets = new Int32Array(predictions.size * width);
  for (const [node, { row, targets: places }] of predictions) {
    hidden.set(outputs.data.subarray((first + node) * size, (first + node + 1) * size), row * size);
    for (const [id, place] of places) targets[row * width + place] = id;
  }
  const { nll, best } = await runner.runHead("ranking", head, {
    hidden: { shape: [predictions.size, size], data: hidden },
    targets: { shape: [predictions.size, width], data: targets },
  });
  return members.map(({ ids, context, nodes }) => {
    let [loss, isGreedy] = [0, true];
    for (let t = context; t < ids.length; t++) {
      const { row, targets: places } = predictions.get(nodes[t - 1]!)!;
      const own = nll!.data[row * width + places.get(ids[t]!)!]!;
      loss += own;
      isGreedy &&= own === best!.data[row]!;
    }
    return { sum: -loss, isGreedy };
  });
}

/** What is predicted from one node. */
interface Prediction {
  /** Its row among the rows of the head. */
  readonly row: number;
  /** Tokens that may come next, numbered. */
  readonly targets: Map<number, number>;
}

/** By node, what its pack's continuations ask of it. */
function predictionsOf(members: readonly Member[]): ReadonlyMap<number, Prediction> {
  const predictions = new Map<number, Prediction>();
  for (const { ids, context, nodes } of members) {
    for (let t = context; t < ids.length; t++) {
      const { targets } = getOrMake(predictions, nodes[t - 1]!, () => ({
        row: predictions.size,
        targets: new Map<number, number>(),
      }));
      getOrMake(targets, ids[t]!, () => targets.size);
    }
  }
  return predictions;
}
