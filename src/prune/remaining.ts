/** How many parameters pruning leaves, as far as the sparsity alone says it. */
import { channelCount, layersParameters, prunableParameters, spacesOf } from "../model/spaces.ts";
import type { ModelSpec } from "../model/spec.ts";

/** Parameters of all layers that are left, when `sparsity` of the prunable ones goes. */
export function leftInLayers(spec: ModelSpec, sparsity: number): number {
  return layersParameters(spec) - sparsity * prunableParameters(spec);
}

/**
 * Parameters of all output projections that are left, at most: a KV group and a neuron have different shares of theirs
 * in the projection, and what goes may all be of the kind that has less.
 */
export function leftInOutputs(spec: ModelSpec, sparsity: number): number {
  const spaces = spacesOf(spec);
  const channels = spaces.reduce((sum, space) => sum + channelCount(space), 0);
  const prunable = spaces.reduce((sum, { units, unitParameters }) => sum + units * unitParameters, 0);
  const shares = spaces.map(({ unitChannels, unitParameters }) => unitChannels / unitParameters);
  return spec.hiddenSize * (channels - sparsity * prunable * Math.min(...shares));
}
