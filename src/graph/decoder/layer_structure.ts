/** What a decoder layer's graph depends on, its inputs and its values. decoder.ts builds it. */

import { getOrMake } from "../../base/map_values.ts";
import type { ExpertsSpec } from "../../model/experts_spec.ts";
import { hasFfn } from "../../model/ffn_layers.ts";
import type { LatentSpec } from "../../model/latent_spec.ts";
import type {
  ConvolutionSpec,
  LinearAttentionSpec,
  Mamba2Spec,
  MixerSpec,
  NoMixer,
} from "../../model/mixer_spec.ts";
import type { BlockMultipliers } from "../../model/multipliers_spec.ts";
import type { LayerMatrix, Projection } from "../../model/projections.ts";
import {
  headDimOf,
  keyChannels,
  type LayerSpec,
  type ModelSpec,
  normsOf,
  queryHeads,
  valueDimOf,
} from "../../model/spec.ts";
import type { StreamUpdates } from "../../model/stream_updates.ts";
import type { SpaceKind } from "../../model/weights.ts";
import type { Value } from "../ir/graph.ts";
import type { Dim } from "../ir/shapes.ts";
import type { AttentionCache, AttentionRule } from "./attention.ts";
import type { ConvolutionInputs } from "./convolution.ts";
import type { NormRule, RotaryAngles } from "./formulas.ts";
import { queryGrowth } from "./frequencies.ts";
import type { ForestPaths } from "./linear_attention.ts";
import type { WeightSupply } from "./weight_supply.ts";

/** Properties that a layer's graph depends on, apart from its widths. */
export interface LayerStructure extends AttentionRule, NormRule {
  readonly hiddenSize: number;
  readonly headDim: number;
  /** Channels of a head's values. */
  readonly valueDim: number;
  /** Channels of a head that are rotated; 0 for none. */
  readonly rotaryDim: number;
  /** Rotated queries are multiplied by a factor of their position. */
  readonly scalesQueries: boolean;
  readonly biases: readonly Projection[];
  readonly activation: ModelSpec["activation"];
  readonly gated: boolean;
  readonly qkNorm: ModelSpec["qkNorm"];
  readonly norms: ModelSpec["norms"];
  readonly parallel: boolean;
  readonly residualScale: number;
  readonly projectionClip: number | null;
  readonly gatedAttention: ModelSpec["gatedAttention"];
  /** See `ModelSpec`. */
  readonly softplusGates?: true;
  /** Keys and values come from latents; absent where they do not. */
  readonly latent?: LatentSpec;
  /** There is no FFN. */
  readonly lacksFfn?: true;
  /** Absent where all neurons compute for every token. */
  readonly experts?: ExpertsSpec;
  /** See `LayerSpec`. */
  readonly gateCut?: number;
  /** Experts compute for their own tokens alone (experts.ts), in files in a graph of their own. */
  readonly sparse?: true | "apart";
  /** Scores have slopes; absent where they have none. */
  readonly alibi?: true;
  /** What the layer has in place of attention; absent in layers with attention. */
  readonly mixer?: MixerSpec;
  /** What it has beside attention; absent without. */
  readonly beside?: Mamba2Spec;
  /** Absent where all are 1; `attentionScale` contains that of keys. */
  readonly multipliers?: BlockMultipliers;
  /** These are as in `ModelSpec` and `LayerSpec`. */
  readonly valueNorm?: true;
  readonly attentionSinks?: true;
  readonly valuesAreKeys?: true;
  readonly sharing?: SharedStream;
  /** Absent where a token has one hidden state. */
  readonly updates?: LayerUpdates;
  /** Channels of the layer's own input (`PerLayerInputs`); absent without one. */
  readonly ownInput?: number;
  /** The output is multiplied by a number of the layer. */
  readonly scalar?: true;
}

/**
 * Keys and values that layers share travel with the hidden states: behind the C channels of a state are those of every
 * source so far, rotated keys before values, until the last layer takes them off. So a layer still has one input and
 * one output, and gradients come back the same way.
 */
export interface SharedStream {
  /** Channels behind the hidden state in the layer's input. */
  readonly channels: number;
  /** Of a reader: the first of them that its keys have, and their number, which is that of its values too. */
  readonly read?: { readonly start: number; readonly size: number };
  /** Of a source: the number of channels of its keys, and of its values, which follow in its output. */
  readonly added?: number;
  /** Nothing follows in the layer's output. */
  readonly isLast: boolean;
}

/** Streams in a layer: the first one makes them of the embedding, the last one joins them (stream_updates.ts). */
export interface LayerUpdates extends StreamUpdates {
  readonly isFirst: boolean;
  readonly isLast: boolean;
}

/** A half of a layer whose channels belong to units: attention (kv) or FFN. */
export interface HalfValues {
  /** Input of the output projection, where units are gated: kv [B, T, K*g*valueDim], ffn [B, T, F]. */
  readonly tap: Value;
  /** E, where channels are those of E experts, and 0 for tokens that are routed elsewhere; absent without experts. */
  readonly experts?: number;
  /** What was computed: the tap itself, or with sparse experts the rows of picked ones, [B*T*A, F/E]. */
  readonly channels: Value;
  /** Puts values in the shape of `channels` where they are in the tap, zeros elsewhere; absent where shapes agree. */
  readonly toTap?: (values: Value) => Value;
  /** The tap before gates of attention's output, where there are some. */
  readonly beforeOutputGate?: Value;
  /** The residual stream after it, [B, T, C]; of several streams the first, before it is corrected. */
  readonly stream: Value;
}

/** Values of a layer's graph that programs use. */
export interface LayerValues {
  /** Layer input, [B, T, C], or more channels (`SharedStream`, `StreamUpdates`). */
  readonly input: Value;
  /** Layer output, [B, T, C], or more channels. */
  readonly output: Value;
  /** The halves with units; layers with a convolution have only the FFN's, if any. */
  readonly halves: ReadonlyMap<SpaceKind, HalfValues>;
  /** Output of every matrix with its bias, before norms and rotation, [B, T, outputs]. */
  readonly projected: ReadonlyMap<LayerMatrix, Value>;
  /** The residual stream after the first half of the layer, [B, T, C]. */
  readonly middle: Value;
  /**
   * Adds what later tokens need of these to the graph, by name: rotated `keys` and `values` of past and present tokens,
   * [B, K, S, H] and [B, K, S, valueDim], where S = T without a past, and with a cache; or the `state` of a filter, [B,
   * P, channels], of as many tokens as its past has, and of linear attention `recurrent`, [B, valueHeads, keyDim,
   * valueDim]; all of them where linear attention is beside attention.
   */
  carried(): Readonly<Record<string, Value>>;
  /** The weights and biases that the layer reads, by their names in the graph. */
  readonly weights: ReadonlyMap<string, Value>;
}

/** The structure of layer `index` of a model. */
export function layerStructure(spec: ModelSpec, index: number): LayerStructure {
  const layer = spec.layers[index]!;
  const sharing = sharedStream(spec, index);
  return {
    hiddenSize: spec.hiddenSize,
    headDim: headDimOf(spec, layer),
    valueDim: valueDimOf(spec, layer),
    groupSize: layer.groupSize,
    rotaryDim: layer.rope?.rotaryDim ?? 0,
    scalesQueries: layer.rope !== null && queryGrowth(layer.rope) !== null,
    biases: layer.biases,
    activation: spec.activation,
    gated: spec.gated,
    normType: spec.normType,
    normEps: spec.normEps,
    normOffset: spec.normOffset,
    normParameters: spec.normParameters,
    qkNorm: layer.rope === null && spec.qkNorm === "unweighted" ? null : spec.qkNorm,
    norms: normsOf(spec, layer),
    parallel: spec.parallel,
    attentionScale: spec.attentionScale * (spec.multipliers?.keys ?? 1),
    scoreSoftcap: spec.scoreSoftcap,
    residualScale: spec.residualScale,
    projectionClip: spec.projectionClip,
    gatedAttention: spec.gatedAttention,
    ...(spec.softplusGates && { softplusGates: true }),
    ...(spec.latent !== undefined && { latent: spec.latent }),
    ...(layer.slopes !== undefined && { alibi: true }),
    ...(layer.mixer !== undefined && { mixer: layer.mixer }),
    ...(!hasFfn(layer) && { lacksFfn: true }),
    ...(layer.beside !== undefined && { beside: layer.beside }),
    ...(spec.multipliers !== undefined && { multipliers: spec.multipliers }),
    ...(layer.experts !== undefined && { experts: layer.experts }),
    ...(layer.gateCut !== undefined && { gateCut: layer.gateCut }),
    ...updatesAt(spec, index),
    ...(spec.valueNorm && { valueNorm: true }),
    ...(spec.attentionSinks && { attentionSinks: true }),
    ...(layer.valuesAreKeys && { valuesAreKeys: true }),
    ...(sharing !== null && { sharing }),
    ...(spec.perLayerInputs !== null && { ownInput: spec.perLayerInputs.size }),
    ...(spec.layerScalars && { scalar: true }),
  };
}

/** Layers with the same spec and structure, whose programs are the same: the first of them, and how many there are. */
export interface AlikeLayers {
  readonly index: number;
  readonly count: number;
}

/** The layers of a model, those that are alike together. */
export function alikeLayers(spec: ModelSpec): readonly AlikeLayers[] {
  const alike = new Map<string, { readonly index: number; count: number }>();
  for (const [index, layer] of spec.layers.entries()) {
    const key = JSON.stringify([layer, layerStructure(spec, index)]);
    getOrMake(alike, key, () => ({ index, count: 0 })).count++;
  }
  return [...alike.values()];
}

/** What travels behind the hidden states at a layer; null for nothing. */
function sharedStream(spec: ModelSpec, index: number): SharedStream | null {
  const layer = spec.layers[index]!;
  const { kvSharing } = layer;
  const channels = sharedChannels(spec, index);
  const size = keyChannels(spec, layer);
  if (channels === 0 && kvSharing === undefined) return null;
  return {
    channels,
    ...(kvSharing?.role === "reader" && { read: { start: sharedChannels(spec, kvSharing.source), size } }),
    ...(kvSharing?.role === "source" && { added: size }),
    isLast: index + 1 === spec.layers.length,
  };
}

function updatesAt({ updates, layers }: ModelSpec, index: number): Pick<LayerStructure, "updates"> {
  if (updates === undefined) return {};
  return { updates: { ...updates, isFirst: index === 0, isLast: index + 1 === layers.length } };
}

/** Channels of the hidden states before a layer, with those that travel behind them. */
export function stateSize(spec: ModelSpec, index: number): number {
  const { updates } = index === spec.layers.length ? {} : updatesAt(spec, index);
  return inputChannels(spec.hiddenSize, updates) + sharedChannels(spec, index);
}

/** The largest of them. */
export function widestState(spec: ModelSpec): number {
  return Math.max(...Array.from({ length: spec.layers.length + 1 }, (_, index) => stateSize(spec, index)));
}

/** Channels of a layer's hidden states, all streams of them. */
export function inputChannels(hiddenSize: number, updates: LayerUpdates | undefined): number {
  return updates === undefined || updates.isFirst ? hiddenSize : updates.streams * hiddenSize;
}

/** Channels that travel behind the hidden states before a layer; after the last one none do. */
function sharedChannels(spec: ModelSpec, index: number): number {
  if (index === spec.layers.length) return 0;
  const sources = spec.layers.slice(0, index).filter(({ kvSharing }) => kvSharing?.role === "source");
  return sources.reduce((sum, layer) => sum + 2 * keyChannels(spec, layer), 0);
}

/** Inputs of attention besides hidden states and weights. */
export interface AttentionInputs {
  /** Null where nothing is rotated. */
  readonly angles: RotaryAngles | null;
  /**
   * Added to the scores, float32, broadcasting to [B, K, g*T, S]; queries are ordered by head, then token. With a span,
   * the mask of one block, which all heads and blocks share (`blockSizes`).
   */
  readonly mask: Value;
  /**
   * ALiBi's slopes, [g, K, 1, 1]; with them, masks are of one head, with distances in place of zeros. None if absent.
   */
  readonly slopes?: Value | null;
  /** Rotated keys and values of the past, [B, K, P, H], to which the present ones are joined; null without a past. */
  readonly past: { readonly keys: Value; readonly values: Value } | null;
  /** Keys and values of the past in a preallocated cache, read in place; none when absent. */
  readonly cache?: AttentionCache | null;
  /** Keys and values of another layer, as attention takes them, [B, K, S, H], in place of the layer's own. */
  readonly shared?: { readonly keys: Value; readonly values: Value };
}

/** Inputs of linear attention besides hidden states and weights. */
export interface LinearAttentionInputs {
  /** Of its filters. */
  readonly filters: ConvolutionInputs;
  /** States of the past, [B, valueHeads, keyDim, valueDim]; null where sequences begin. */
  readonly past: Value | null;
  /** The sequences of forests; rows are sequences when absent. */
  readonly paths?: ForestPaths;
}

/** Inputs of a layer's first half besides hidden states and weights. */
export type FirstHalfInputs =
  | { readonly attention: AttentionInputs; readonly beside?: LinearAttentionInputs }
  | MixerInputs
  | { readonly mixer: NoMixer };

/** A mixer and its inputs. */
export type MixerInputs =
  | { readonly mixer: ConvolutionSpec; readonly convolution: ConvolutionInputs }
  | { readonly mixer: LinearAttentionSpec; readonly recurrent: LinearAttentionInputs };

/** Sizes that pruning changes, by their names in shapes: KV groups, query heads and neurons. */
export interface LayerSizes<Size extends Dim = Dim> {
  readonly K: Size;
  readonly N: Size;
  readonly F: Size;
}

/** Sizes of one layer. */
export function layerSizes(layer: LayerSpec): LayerSizes<number> {
  return { K: layer.kvGroups, N: queryHeads(layer), F: layer.neurons };
}

/** Structure, weights and sizes of one layer. */
export interface LayerParts {
  readonly structure: LayerStructure;
  readonly weights: WeightSupply;
  readonly sizes: LayerSizes;
}

/** The size of some parts of one size. */
export function multiple(parts: Dim, size: number): Dim {
  return typeof parts === "number" ? parts * size : `${parts}*${size}`;
}
