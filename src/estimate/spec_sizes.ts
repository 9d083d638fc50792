/** What the memory of all plans of a model has in common: sizes that follow from its shapes alone. */
import { getOrMake } from "../base/map_values.ts";
import { largestBytes, writingBytes } from "../export/room.ts";
import { type AlikeLayers, alikeLayers } from "../graph/decoder/layer_structure.ts";
import { layerParameters } from "../model/parameter_counts.ts";
import { channelCount, type Space, spacesOf } from "../model/spaces.ts";
import type { ModelSpec } from "../model/spec.ts";
import { PER_LAYER } from "../model/weight_names.ts";
import { layerWeightsOf, SPACE_KINDS, weightsOf } from "../model/weights.ts";

/** Sizes of a model; bytes are those of weights in float32. */
export interface SpecSizes {
  readonly spaces: readonly Space[];
  /** Channels of the widest KV space and of the widest FFN space. */
  readonly channels: readonly number[];
  /** Channels of all spaces together. */
  readonly allChannels: number;
  /** Bytes of each layer's weights. */
  readonly layerBytes: readonly number[];
  /** Bytes of the largest tensor of a layer. */
  readonly largestOfLayers: number;
  /** Bytes of the largest tensor that is read as a whole. */
  readonly largestTensor: number;
  /** Memory for a tensor while it is written. */
  readonly writing: number;
  readonly alike: readonly AlikeLayers[];
}

const known = new WeakMap<ModelSpec, SpecSizes>();

/** The sizes of a model, computed once for each spec. */
export function specSizes(spec: ModelSpec): SpecSizes {
  return getOrMake(known, spec, () => measured(spec));
}

function measured(spec: ModelSpec): SpecSizes {
  const spaces = spacesOf(spec);
  const counts = spaces.map(channelCount);
  const widestOf = (kind: string): number =>
    Math.max(0, ...counts.filter((_, index) => spaces[index]!.kind === kind));
  return {
    spaces,
    channels: SPACE_KINDS.map(widestOf),
    allChannels: counts.reduce((a, b) => a + b, 0),
    layerBytes: spec.layers.map((_, index) => 4 * layerParameters(spec, index)),
    largestOfLayers: Math.max(...spec.layers.map((_, index) => largestBytes(layerWeightsOf(spec, index)))),
    largestTensor: largestBytes(weightsOf(spec).filter(({ name }) => name !== PER_LAYER.table)),
    writing: writingBytes(spec),
    alike: alikeLayers(spec),
  };
}
