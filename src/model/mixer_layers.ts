/** Layers with something in place of attention, or beside it. */
import {
  type ConvolutionSpec,
  type DeltaSpec,
  isLinear,
  type LinearAttentionSpec,
  type MixerSpec,
} from "./mixer_spec.ts";
import { PROJECTION_MODULE, type Projection } from "./projections.ts";
import type { LayerSpec, ModelSpec } from "./spec.ts";

function ofFfn(projections: readonly Projection[]): readonly Projection[] {
  return projections.filter((projection) => PROJECTION_MODULE[projection] === "mlp");
}

/** A layer without attention, with the FFN and norms of another; of its biases, it has those of the FFN. */
export function mixerLayer(
  mixer: MixerSpec,
  { neurons, biases, experts, norms }: Pick<LayerSpec, "neurons" | "biases" | "experts" | "norms">,
): LayerSpec {
  const attention = { kvGroups: 0, groupSize: 1, window: null, rope: null };
  return {
    ...{ neurons, ...attention, biases: ofFfn(biases), mixer },
    ...(experts && { experts }),
    ...(norms && { norms }),
  };
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
