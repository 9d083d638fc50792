/**
 * Log-probabilities of continuations. Common prefixes are computed once: sequences are packed into prefix forests
 * (graph/decoder/prefix_forest.ts). The last token of a sequence, which predicts nothing, is not computed at all, and
 * the head runs only on the positions that a continuation's tokens are predicted from.
 */

import { getOrMake } from "../base/map_values.ts";
import { type Reporting, silent } from "../base/progress.ts";
import { GpruneError } from "../errors.ts";
import type { DecoderRunner, LoadedHead } from "../graph/decoder/decoder_runner.ts";
import { requireKnownTokens } from "../graph/decoder/embedding_rows.ts";
import { embedForests, forwardLayers, MAX_HIDDEN_BYTES } from "../graph/decoder/forward.ts";
import { hasSameFrequencies } from "../graph/decoder/frequencies.ts";
import { widestState } from "../graph/decoder/layer_structure.ts";
import { MAX_FOREST_TOKENS, PrefixForest, type TokenForest } from "../graph/decoder/prefix_forest.ts";
import { linearAttentionsOf } from "../model/mixer_layers.ts";
import type { ModelSpec } from "../model/spec.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** A context and the continuation whose probability is wanted. */
export interface Continuation {
  /** Token ids of the context and the continuation. */
  readonly ids: Int32Array;
  /** Number of tokens of the context, at least one. */
  readonly context: number;
}

/** Log-likelihood of a continuation under a model. */
export interface LogLikelihood {
  /** log p(continuation | context), nats: the sum over its tokens in float64. */
  readonly sum: number;
  /** Whether greedy decoding would give it: every token is the most probable one. */
  readonly isGreedy: boolean;
}

/** A prefix forest and the continuations in it. */
interface Pack {
  readonly forest: TokenForest;
  readonly members: readonly Member[];
}

interface Member extends Continuation {
  /** Index among all continuations. */
  readonly index: number;
  /** Nodes of the tokens of `ids` without the last. */
  readonly nodes: Int32Array;
}

/** Nodes of a pack: few, since attention is quadratic in them; several packs pass the layers together. */
const PACK_TOKENS = 256;

/**
 * Tokens of all sequences of a pack, for models with linear attention: it computes each from its beginning, and its
 * states take the room of some 64 tokens each.
 */
const PACK_SEQUENCE_TOKENS = 4096;
const STATE_TOKENS = 64;

/**
 * Log-probabilities of continuations after their contexts.
 * @param continuations - those with common prefixes next to one another
 * @throws GpruneError BAD_TEXT for a token outside the vocabulary, an empty context or an empty continuation
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
  try {
    for (const lot of lotsOf(packs, MAX_HIDDEN_BYTES / (4 * widestState(runner.model.spec)))) {
      const base = seen;
      const { batches, places } = await embedForests(
        runner,
        lot.map(({ forest }) => forest),
      );
      await forwardLayers(runner, batches, {
        stage,
        // forwardLayers counts padding, the total here does not.
        onProgress: (event) =>
          onProgress({ ...event, done: base + (event.done / event.total) * countNodes(lot), total }),
      });
      for (const [index, { members }] of lot.entries()) {
        const { batch, row } = places[index]!;
        const { hidden, tokens } = batches[batch]!;
        const likelihoods = await likelihoodsOf(runner, head, { hidden, first: row * tokens, members });
        for (const [i, member] of members.entries()) results[member.index] = likelihoods[i]!;
      }
      seen += countNodes(lot);
    }
  } finally {
    runner.runtime.release(head.weights);
  }
  return results;
}

function requireBothParts({ ids, context }: Continuation): void {
  if (Number.isInteger(context) && context >= 1 && context < ids.length) return;
  const expected = `a context of 1 to ${ids.length - 1} of its ${ids.length} tokens`;
  throw new GpruneError("BAD_TEXT", `continuation: expected ${expected}, got ${context}`);
}

/**
 * Packs continuations in order. One joins the last pack if it fits (`joins`) and has the same rotary frequencies as the
 * pack's others, else it opens the next pack.
 */
function packContinuations(spec: ModelSpec, continuations: readonly Continuation[]): readonly Pack[] {
  const packs: Pack[] = [];
  const isRecurrent = linearAttentionsOf(spec).length > 0;
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
    const fits = joins(forest, inputs) && (!isRecurrent || sequencesFit(members, inputs));
    if (!fits || !hasSameFrequencies(spec, [first, inputs.length])) close();
    members.push({ ...continuation, index, nodes: forest.add(inputs) });
  }
  close();
  return packs;
}

/**
 * Whether a forest with these tokens stays within PACK_TOKENS nodes, or twice that or twice their number where it holds
 * more than half of them already. A forest of more than MAX_FOREST_TOKENS nodes must stay a single sequence.
 */
function joins(forest: PrefixForest, inputs: Int32Array): boolean {
  const shared = forest.shared(inputs);
  const size = forest.size + inputs.length - shared;
  const room = shared > inputs.length / 2 ? 2 * Math.max(PACK_TOKENS, inputs.length) : PACK_TOKENS;
  if (size <= Math.min(room, MAX_FOREST_TOKENS)) return true;
  const isPrefix = shared === Math.min(forest.size, inputs.length);
  return size <= room && isPrefix && forest.isSequence;
}

/** Whether the sequences of a pack and one more take at most `PACK_SEQUENCE_TOKENS`, each as long as the longest. */
function sequencesFit(members: readonly Member[], inputs: Int32Array): boolean {
  const longest = members.reduce((most, { nodes }) => Math.max(most, nodes.length), inputs.length);
  return (members.length + 1) * (longest + STATE_TOKENS) <= PACK_SEQUENCE_TOKENS;
}

/** Groups consecutive packs into lots of at most `maxNodes` nodes, at least one pack in each. */
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

/** Log-likelihoods of a pack's continuations from the last layer's outputs; row `first` is the pack's first node. */
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
  for (const [node, { row, targets: columns }] of predictions) {
    hidden.set(outputs.data.subarray((first + node) * size, (first + node + 1) * size), row * size);
    for (const [id, column] of columns) targets[row * width + column] = id;
  }
  const { nll, best } = await runner.runHead("ranking", head, {
    hidden: { shape: [predictions.size, size], data: hidden },
    targets: { shape: [predictions.size, width], data: targets },
  });
  return members.map(({ ids, context, nodes }) => {
    let [loss, isGreedy] = [0, true];
    for (let t = context; t < ids.length; t++) {
      const { row, targets: columns } = predictions.get(nodes[t - 1]!)!;
      const tokenLoss = nll!.data[row * width + columns.get(ids[t]!)!]!;
      loss += tokenLoss;
      isGreedy &&= tokenLoss === best!.data[row]!;
    }
    return { sum: -loss, isGreedy };
  });
}

/** The tokens whose probabilities are wanted after one node. */
interface Prediction {
  /** The node's row in the head's input. */
  readonly row: number;
  /** Column of each token id in the head's targets. */
  readonly targets: Map<number, number>;
}

/** Predictions by node that a pack's continuations require. */
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
