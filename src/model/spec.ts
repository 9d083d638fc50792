/**
 * The specification of a decoder-only transformer as one JSON value: sizes, per-layer widths and the switches in which
 * families differ. Graphs, surgery, configuration files and exports are all derived from it.
 *
 * Shape letters, used in every docstring of this project: B batch, T tokens, C hidden size, F neurons of an FFN,
 * K key/value heads (KV groups), N query heads (N = K * g), g query heads per KV head, H head size, V vocabulary.
 */

import type { ExpertsSpec } from "./experts_spec.ts";
import type { LatentSpec } from "./latent_spec.ts";
import {
  type ConvolutionSpec,
  type DeltaSpec,
  isLinear,
  type LinearAttentionSpec,
  type Mamba2Spec,
  type MixerSpec,
} from "./mixer_spec.ts";
import type { BlockMultipliers } from "./multipliers_spec.ts";
import type { RopeSpec } from "./rope_spec.ts";

/** The most layers that a file may name, far above every model, so that a lying header is not expanded into more. */
export const MAX_LAYERS = 4096;

/** The seven projections of a decoder layer, by their checkpoint names. */
export const PROJECTIONS = [
  "q_proj",
  "k_proj",
  "v_proj",
  "o_proj",
  "gate_proj",
  "up_proj",
  "down_proj",
] as const;
/** One of the seven matrices of a layer. */
export type Projection = (typeof PROJECTIONS)[number];

/** The sub-module of a layer that holds a projection, as checkpoints name it. */
export const PROJECTION_MODULE: Readonly<Record<Projection, "self_attn" | "mlp">> = {
  q_proj: "self_attn",
  k_proj: "self_attn",
  v_proj: "self_attn",
  o_proj: "self_attn",
  gate_proj: "mlp",
  up_proj: "mlp",
  down_proj: "mlp",
};

/**
 * The matrices of latents, of what layers have in place of attention, of shared experts and of inputs of layers, with
 * modules.
 */
const OTHER_MATRICES = [
  "self_attn.q_a_proj",
  "self_attn.kv_a_proj",
  "conv.in_proj",
  "conv.out_proj",
  "linear_attn.in_proj_qkv",
  "linear_attn.in_proj_z",
  "linear_attn.in_proj_b",
  "linear_attn.in_proj_a",
  "linear_attn.out_proj",
  "mamba.in_proj",
  "mamba.out_proj",
  "mlp.shared_expert.gate_proj",
  "mlp.shared_expert.up_proj",
  "mlp.shared_expert.down_proj",
  "per_layer_input_gate",
  "per_layer_projection",
] as const;
/** A matrix of a layer: a projection, or one of those. */
export type LayerMatrix = Projection | (typeof OTHER_MATRICES)[number];
export const LAYER_MATRICES: readonly LayerMatrix[] = [...PROJECTIONS, ...OTHER_MATRICES];

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
  /**
   * Outputs of attention are multiplied by the sigmoids of gates, which q_proj computes too: the rows of a head are
   * those of its query, then those of its gate (Qwen 3.5).
   */
  readonly gatedAttention: boolean;
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

function ofFfn(projections: readonly Projection[]): readonly Projection[] {
  return projections.filter((projection) => PROJECTION_MODULE[projection] === "mlp");
}

/** The rotary embeddings of the layers that have one. */
export function ropesOf({ layers }: Pick<ModelSpec, "layers">): readonly RopeSpec[] {
  return layers.flatMap(({ rope }) => rope ?? []);
}

/** Rotary embedding of the rotated layers without a window, else of the rotated ones with one; null for none. */
export function mainRope({ layers }: Pick<ModelSpec, "layers">): RopeSpec | null {
  const full = layers.filter(({ window }) => window === null);
  return ropesOf({ layers: full })[0] ?? ropesOf({ layers })[0] ?? null;
}

/** Longest sequence that LongRoPE's short factors apply to, tokens; null for models without LongRoPE. */
export function longropeSwitch(spec: Pick<ModelSpec, "layers">): number | null {
  const scalings = ropesOf(spec).flatMap(({ scaling }) => (scaling?.type === "longrope" ? [scaling] : []));
  return scalings[0]?.originalMaxPositions ?? null;
}

/** Longest sequence that YaRN or dynamic scaling stretches rotary embeddings to, tokens; 0 without either. */
export function stretchedPositions(spec: Pick<ModelSpec, "layers">): number {
  const lengths = ropesOf(spec).map(({ scaling }) =>
    scaling?.type === "yarn" || scaling?.type === "dynamic"
      ? Math.floor(scaling.factor * scaling.originalMaxPositions)
      : 0,
  );
  return Math.max(0, ...lengths);
}

/** A layer without attention, with the FFN of another; of its biases, it has those of the FFN. */
export function mixerLayer(
  mixer: MixerSpec,
  { neurons, biases, experts }: Pick<LayerSpec, "neurons" | "biases" | "experts">,
): LayerSpec {
  const attention = { kvGroups: 0, groupSize: 1, window: null, rope: null };
  return { neurons, ...attention, biases: ofFfn(biases), mixer, ...(experts && { experts }) };
}

/** The linear attention of the layers that have some. */
export function linearAttentionsOf({ layers }: Pick<ModelSpec, "layers">): readonly LinearAttentionSpec[] {
  return layers.map(mixerOf).filter(isLinear);
}

/** What a layer has in place of attention, or beside it. */
export function mixerOf({ mixer, beside }: Pick<LayerSpec, "mixer" | "beside">): MixerSpec | undefined {
  return mixer ?? beside;
}

/** The delta rules of the layers that have one. */
export function deltasOf({ layers }: Pick<ModelSpec, "layers">): readonly DeltaSpec[] {
  return layers.flatMap(({ mixer }) => (mixer?.type === "delta" ? [mixer] : []));
}

/** The convolutions of the layers that have one. */
export function convolutionsOf({ layers }: Pick<ModelSpec, "layers">): readonly ConvolutionSpec[] {
  return layers.flatMap(({ mixer }) => (mixer?.type === "convolution" ? [mixer] : []));
}

/** The layers with attention. */
export function attentionLayers({ layers }: Pick<ModelSpec, "layers">): readonly LayerSpec[] {
  return layers.filter(({ mixer }) => mixer === undefined);
}

/**
 * Whether layers have the widths that stock classes can have: the same in all layers of a kind. Layers with attention
 * are of one kind if their heads have the same size, FFNs if both are in layers with keys of their own, or neither, and
 * have as many experts. Layers without an FFN may be anywhere.
 */
export function hasUniformWidths({ layers }: Pick<ModelSpec, "layers">): boolean {
  const heads = ({ headDim, kvGroups, groupSize }: LayerSpec): Kinship => [headDim, [kvGroups, groupSize]];
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
