/**
 * The specification of a decoder-only transformer as one JSON value: sizes, per-layer widths and the switches in which
 * families differ. Graphs, surgery, configuration files and exports are all derived from it.
 *
 * Shape letters, used in every docstring of this project: B batch, T tokens, C hidden size, F neurons of an FFN,
 * K key/value heads (KV groups), N query heads (N = K * g), g query heads per KV head, H head size, V vocabulary.
 */

import type { ExpertsSpec } from "./experts_spec.ts";
import type { LatentSpec } from "./latent_spec.ts";
import type { Mamba2Spec, MixerSpec } from "./mixer_spec.ts";
import type { BlockMultipliers } from "./multipliers_spec.ts";
import { PROJECTION_MODULE, PROJECTIONS, type Projection } from "./projections.ts";
import type { RopeSpec } from "./rope_spec.ts";
import type { StreamUpdates } from "./stream_updates.ts";

/** The most layers that a file may name, far above every model, so that a lying header is not expanded into more. */
export const MAX_LAYERS = 4096;

/** The most query heads of all layers together, far above every model; some tensors and slopes are one for each. */
export const MAX_HEADS: number = 2 ** 18;

/** A table of position embeddings, with `offset` rows before that of the first position. */
export interface LearnedPositions {
  readonly offset: number;
}

/**
 * Keys and values that several layers share (arXiv 2405.12981): those that a source computes, or those that a reader
 * takes from the layer `source`, without k_proj and v_proj of its own.
 */
export type KvSharing = { readonly role: "source" } | { readonly role: "reader"; readonly source: number };

/**
 * Every layer has another embedding of each token, which its hidden states gate (Gemma 3n, Gemma 4). It is a row of a
 * table for all layers, plus a projection of the token's embedding.
 */
export interface PerLayerInputs {
  /** Channels of a layer. */
  readonly size: number;
  /** Rows of the table. */
  readonly vocabSize: number;
}

/** One decoder layer. Widths differ from layer to layer once a model is pruned. */
export interface LayerSpec {
  /**
   * F, neurons of the FFN; those of all experts, one expert's after another's, each the same number. 0 in layers
   * without an FFN.
   */
  readonly neurons: number;
  /** Absent where all neurons compute for every token. */
  readonly experts?: ExpertsSpec;
  /**
   * The share of gates that a cut by their mean and standard deviation is to leave at 0 for a token, 0 to 1, exclusive;
   * absent without a cut (modeling_gemma3n.py).
   */
  readonly gateCut?: number;
  /** K, key/value heads; 0 in layers without attention. */
  readonly kvGroups: number;
  /** g, query heads that read one key/value head. */
  readonly groupSize: number;
  /** H, where it is not that of the model. */
  readonly headDim?: number;
  /** Keys and values that other layers read as well, or that are another's; absent where they are the layer's own. */
  readonly kvSharing?: KvSharing;
  /** Values are what k_proj gives, before norm and rotation; there is no v_proj. */
  readonly valuesAreKeys?: true;
  /** Tokens a query sees, itself included; null for the whole past. */
  readonly window: number | null;
  /** Null for layers without position embedding (NoPE, arXiv 2305.19466). */
  readonly rope: RopeSpec | null;
  /**
   * ALiBi (arXiv 2108.12409): what the scores of each query head lose for every token between query and key, [N];
   * absent in layers without.
   */
  readonly slopes?: readonly number[];
  /** Norms of attention and FFN, where they are not where the model has them. */
  readonly norms?: NormPlacement;
  /** Projections that carry a bias; of experts each has its own (modeling_gpt_oss.py). */
  readonly biases: readonly Projection[];
  /** What the layer has in place of attention; absent in layers with attention. */
  readonly mixer?: MixerSpec;
  /** What reads the same as attention, and whose output is added to that of attention (Falcon-H1). */
  readonly beside?: Mamba2Spec;
}

/**
 * Functions of neurons: GELU exact or by tanh (arXiv 1606.08415), the square of ReLU (arXiv 2109.08668), xIELU with
 * learned numbers (arXiv 2411.13010), and a gate of clamped values that adds 1 to what it multiplies
 * (modeling_gpt_oss.py).
 */
export type Activation = "silu" | "gelu" | "gelu_tanh" | "relu" | "relu2" | "xielu" | "clamped_swiglu";

/** Parameters of norms: a weight for each channel, and a bias; OLMo 1 has neither. */
export type NormParameters = "none" | "weight" | "weight_and_bias";

/**
 * Norms on queries and keys: over the channels of each head, before (Qwen3, Gemma 3) or after the rotation (HunYuan),
 * with the same weights for all heads; after the rotation, in layers that have one, without weights (Llama 4); before
 * the rotation with weights for each head (Command R+); or over all channels of a projection, before the rotation
 * (OLMo 2).
 */
export type QkNorm = "head" | "rotated_head" | "unweighted" | "each_head" | "projection";

/**
 * Norms of attention and FFN: on their inputs (Llama), on their inputs and on their outputs before these are added to
 * the residual stream (Gemma 2), on their outputs alone (OLMo 2), or one on the input of both (Phi).
 */
export type NormPlacement = "before" | "around" | "after" | "shared";

/**
 * The matrix that computes gates of attention's outputs, which are multiplied by their sigmoids or softplus: q_proj,
 * where the rows of a head are those of its query, then those of its gate (Qwen 3.5), or one of their own without a
 * bias, with a row for each channel of the outputs (modeling_afmoe.py) or for each head (modeling_lfm3.py).
 */
export type AttentionGates = "q_proj" | "gate_proj" | "head_gates";

/** A whole model. Everything is plain JSON. */
export interface ModelSpec {
  /** Key into the table of families, equal to `model_type` in config.json. */
  readonly family: string;
  readonly vocabSize: number;
  /** C. */
  readonly hiddenSize: number;
  /** H, of layers that have none of their own. */
  readonly headDim: number;
  readonly layers: readonly LayerSpec[];
  /** Whether the output matrix is the embedding matrix. */
  readonly tiedEmbeddings: boolean;
  readonly activation: Activation;
  /**
   * Neurons are act(gate(x)) * up(x) (arXiv 2002.05202), or the activation makes something of up(x), too; else
   * act(up(x)), and there is no gate_proj.
   */
  readonly gated: boolean;
  /** RMSNorm (arXiv 1910.07467), or LayerNorm, which takes off the mean first (arXiv 1607.06450). */
  readonly normType: "rms" | "layer";
  readonly normEps: number;
  /** Norms multiply by (normOffset + weight): 1 in Gemma and Nemotron, else 0. */
  readonly normOffset: 0 | 1;
  /** What norms have learned, but those on queries and keys (`QkNorm`). */
  readonly normParameters: NormParameters;
  readonly qkNorm: QkNorm | null;
  /** Values have an RMSNorm without weights over each head (Gemma 4). */
  readonly valueNorm: boolean;
  readonly norms: NormPlacement;
  /** The FFN reads the layer's input, as attention does, instead of the stream after attention (GPT-J). */
  readonly parallel: boolean;
  /** Logits have a bias. */
  readonly headBias: boolean;
  /**
   * Learned embeddings of positions are added to those of tokens, that of position p in row p + `offset` of their table
   * (GPT-2, OPT); null for none.
   */
  readonly learnedPositions: LearnedPositions | null;
  /** Factor on token embeddings: sqrt(C) in Gemma, given by the configuration in Granite, else 1. */
  readonly embeddingScale: number;
  /** Null for none. */
  readonly perLayerInputs: PerLayerInputs | null;
  /** Tokens have several hidden states between layers; absent where they have one. */
  readonly updates?: StreamUpdates;
  /**
   * Every query head has an attention sink: a learned logit, which takes part in its softmax and adds nothing to its
   * output (modeling_gpt_oss.py).
   */
  readonly attentionSinks: boolean;
  /** The output of every layer is multiplied by a number of the layer (Gemma 4). */
  readonly layerScalars: boolean;
  /** Embeddings have a norm like those of layers before the first one (nanochat, BLOOM). */
  readonly embeddingNorm: boolean;
  /** Factor on the outputs of attention and FFN before they are added to the residual stream: 1 except in Granite. */
  readonly residualScale: number;
  /** Further factors of the blocks; absent where all are 1. */
  readonly multipliers?: BlockMultipliers;
  /** Factor on query-key products, usually H^-1/2. */
  readonly attentionScale: number;
  /** Queries, keys and values are clipped to [-c, c] before they are rotated (OLMo); null for none. */
  readonly projectionClip: number | null;
  /** Scores become c * tanh(scores / c) before the mask is added; null for none. */
  readonly scoreSoftcap: number | null;
  /** What computes gates of attention's outputs; false without gates. */
  readonly gatedAttention: AttentionGates | false;
  /** Attention's outputs are multiplied by the softplus of their gates (modeling_laguna.py), not by their sigmoids. */
  readonly softplusGates?: true;
  /** Keys and values come from latents, in all layers; absent where projections read the layer's input. */
  readonly latent?: LatentSpec;
  /** Divisor of the logits: 1 except in Granite. */
  readonly logitDivisor: number;
  /** Logits become c * tanh(logits / c); null for none. */
  readonly logitSoftcap: number | null;
  /** The longest sequence the position embedding was made for. */
  readonly maxPositions: number;
  /** Settings that do not shape the computation and are carried to the output (token ids and the like). */
  readonly extra: Readonly<Record<string, unknown>>;
}

/** H of a layer. */
export function headDimOf(spec: Pick<ModelSpec, "headDim">, layer: Pick<LayerSpec, "headDim">): number {
  return layer.headDim ?? spec.headDim;
}

/** Norms of attention and FFN of a layer. */
export function normsOf(spec: Pick<ModelSpec, "norms">, layer: Pick<LayerSpec, "norms">): NormPlacement {
  return layer.norms ?? spec.norms;
}

/** Channels of a head's values, which are those of its output; H but for latents. */
export function valueDimOf(
  spec: Pick<ModelSpec, "headDim" | "latent">,
  layer: Pick<LayerSpec, "headDim">,
): number {
  return spec.latent?.valueDim ?? headDimOf(spec, layer);
}

/** Channels of a head's keys that k_proj gives; H but for latents. */
export function ownKeyDimOf(
  spec: Pick<ModelSpec, "headDim" | "latent">,
  layer: Pick<LayerSpec, "headDim">,
): number {
  return headDimOf(spec, layer) - (spec.latent?.rotated ?? 0);
}

/** Channels of the keys of a layer; in layers that share them, those of its values too. */
export function keyChannels(spec: Pick<ModelSpec, "headDim">, layer: LayerSpec): number {
  return layer.kvGroups * headDimOf(spec, layer);
}

/** N, query heads of a layer. */
export function queryHeads({ kvGroups, groupSize }: Pick<LayerSpec, "kvGroups" | "groupSize">): number {
  return kvGroups * groupSize;
}

/** Neurons of an expert, or of the whole FFN where there are none. */
export function expertNeurons({ neurons, experts }: Pick<LayerSpec, "neurons" | "experts">): number {
  return neurons / (experts?.count ?? 1);
}

/** Experts by layer, 0 where all neurons compute for every token; undefined for models without any. */
export function expertCounts({ layers }: Pick<ModelSpec, "layers">): readonly number[] | undefined {
  const counts = layers.map(({ experts }) => experts?.count ?? 0);
  return counts.some((count) => count > 0) ? counts : undefined;
}

/**
 * The layer with biases on more projections, of those that it has and can have one at, in the order of `PROJECTIONS`.
 */
export function withBiases(layer: LayerSpec, added: readonly Projection[]): LayerSpec {
  const all = PROJECTIONS.filter(
    (projection) =>
      (added.includes(projection) && takesBias(layer, projection)) || layer.biases.includes(projection),
  );
  return { ...layer, biases: ofLayer(all, layer) };
}

/** Whether a projection can gain a bias: no class has a place for one at the output of experts together. */
export function takesBias({ experts }: Pick<LayerSpec, "experts">, projection: Projection): boolean {
  return experts === undefined || PROJECTION_MODULE[projection] !== "mlp";
}

/** Whether the output of a projection has a bias added to it: of experts, each has its own. */
export function hasOneBias(layer: Pick<LayerSpec, "experts" | "biases">, projection: Projection): boolean {
  return layer.biases.includes(projection) && takesBias(layer, projection);
}

/** Those of some projections that a layer has, if its FFN is gated. */
export function ofLayer(
  projections: readonly Projection[],
  layer: Partial<Pick<LayerSpec, "mixer" | "kvSharing" | "valuesAreKeys" | "neurons">>,
): readonly Projection[] {
  const { mixer, kvSharing, valuesAreKeys, neurons } = layer;
  const isReader = kvSharing?.role === "reader";
  return projections.filter((projection) => {
    if (PROJECTION_MODULE[projection] === "mlp") return neurons !== 0;
    return (
      mixer === undefined &&
      !(isReader && projection === "k_proj") &&
      !((isReader || valuesAreKeys === true) && projection === "v_proj")
    );
  });
}

/** The layers with attention. */
export function attentionLayers({ layers }: Pick<ModelSpec, "layers">): readonly LayerSpec[] {
  return layers.filter(({ mixer }) => mixer === undefined);
}

/**
 * Whether layers have the widths that stock classes can have: the same in all layers of a kind. Layers with attention
 * are of one kind if their heads have the same size, FFNs if both are in layers with keys of their own, or neither, and
 * have as many experts. Layers without an FFN may be anywhere. Query heads of a group do not count: pruning leaves all.
 */
export function hasUniformWidths({ layers }: Pick<ModelSpec, "layers">): boolean {
  const heads = ({ headDim, kvGroups }: LayerSpec): Kinship => [headDim, [kvGroups]];
  const ffn = ({ kvSharing, neurons, experts }: LayerSpec): Kinship => [
    `${kvSharing?.role === "reader"} ${experts?.count}`,
    [neurons],
  ];
  return (
    areAlike(attentionLayers({ layers }).map(heads)) &&
    areAlike(layers.filter(({ neurons }) => neurons > 0).map(ffn))
  );
}

/** The kind of a layer and its widths. */
type Kinship = readonly [kind: unknown, widths: readonly number[]];

function areAlike(layers: readonly Kinship[]): boolean {
  const firsts = new Map(layers.toReversed().map(([kind, widths]) => [kind, widths]));
  return layers.every(([kind, widths]) => widths.every((width, i) => width === firsts.get(kind)![i]));
}
