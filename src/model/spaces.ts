/**
 * The one idea of the project: every tensor axis that pruning can shorten carries a named space (hidden size,
 * vocabulary and head size carry none), a space is a list of units, and pruning keeps some units of a space along every
 * axis that carries it.
 *
 * | space | unit | axes |
 * |---|---|---|
 * | `layers.i.ffn` | neuron | rows of gate_proj (where there is one) and up_proj, columns of down_proj |
 * | `layers.i.kv` | KV group | H rows of k_proj and v_proj, g*H rows of q_proj, g*H columns of o_proj |
 *
 * Where keys and values come from latents (latent_spec.ts), a head's rows and columns have sizes of their own, and what
 * makes latents stays. Biases, and norms over a whole projection or with weights for each head, go with its rows.
 */
import { elementCount } from "../tensor/tensor.ts";
import type { Projection } from "./projections.ts";
import { type ModelSpec, valueDimOf } from "./spec.ts";
import { kindsOf, layerWeightsOf, type SpaceKind, spaceId, type WeightSpec } from "./weights.ts";

/** A list of units, each of which can be removed with everything that belongs to it. */
export interface Space {
  /** `layers.3.ffn`, the key in plans. */
  readonly id: string;
  readonly kind: SpaceKind;
  readonly layer: number;
  /** Number of units. */
  readonly units: number;
  /**
   * Equal parts that the units are in, one after another, and stay in when units are removed: the experts of an FFN, or
   * one.
   */
  readonly parts: number;
  /** Channels of a unit at the input of its output projection: 1 of down_proj, g*H (of latents valueDim) of o_proj. */
  readonly unitChannels: number;
  /** Parameters that go with one unit, biases included. */
  readonly unitParameters: number;
}

/** The output projection whose inputs are the channels of a space's units. */
export const OUTPUT_PROJECTION: Readonly<Record<SpaceKind, Projection>> = { ffn: "down_proj", kv: "o_proj" };

/** Every prunable space of a model, layer by layer, attention before FFN. */
export function spacesOf(spec: ModelSpec): readonly Space[] {
  return spec.layers.flatMap((layer, index) => {
    const weights = layerWeightsOf(spec, index);
    return kindsOf(layer).map((kind): Space => {
      const id = spaceId(index, kind);
      const units = kind === "ffn" ? layer.neurons : layer.kvGroups;
      const parts = kind === "ffn" ? (layer.experts?.count ?? 1) : 1;
      const unitChannels = kind === "ffn" ? 1 : layer.groupSize * valueDimOf(spec, layer);
      const unitParameters = parametersPerUnit(weights, id);
      return { id, kind, layer: index, units, parts, unitChannels, unitParameters };
    });
  });
}

/** Channels of a space at the input of its output projection. */
export function channelCount({ units, unitChannels }: Space): number {
  return units * unitChannels;
}

/** Sums of channel values over the channels of each unit, [units]. */
export function sumOverUnits(channels: Float32Array | Float64Array, space: Space): Float64Array {
  const { units, unitChannels } = space;
  const sums = new Float64Array(units);
  for (let j = 0; j < channelCount(space); j++) sums[Math.floor(j / unitChannels)]! += channels[j]!;
  return sums;
}

/** Channel indices of units, in the units' order, [units.length * unitChannels]. */
export function channelsOf(units: readonly number[], unitChannels: number): Int32Array {
  return Int32Array.from({ length: units.length * unitChannels }, (_, i) => {
    return units[Math.floor(i / unitChannels)]! * unitChannels + (i % unitChannels);
  });
}

/** Parameters of all prunable spaces, of which `--sparsity` is a fraction. */
export function prunableParameters(spec: ModelSpec): number {
  return spacesOf(spec).reduce((sum, space) => sum + space.units * space.unitParameters, 0);
}

function parametersPerUnit(weights: readonly WeightSpec[], space: string): number {
  let sum = 0;
  for (const { shape, axes } of weights) {
    const index = axes.findIndex((axis) => axis.space === space);
    if (index >= 0) sum += (elementCount(shape) / shape[index]!) * axes[index]!.blockSize;
  }
  return sum;
}
