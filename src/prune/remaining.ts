/** Numbers of parameters that remain after pruning, as far as the sparsity alone determines them. */

import { layersParameters } from "../model/parameter_counts.ts";
import { channelCount, prunableParameters, spacesOf } from "../model/spaces.ts";
import type { ModelSpec } from "../model/spec.ts";

/** Parameters of all layers that remain when the fraction `sparsity` of the prunable ones is removed. */
export function leftInLayers(spec: ModelSpec, sparsity: number): number {
  return layersParameters(spec) - sparsity * prunableParameters(spec);
}

/**
 * Upper bound of the parameters that remain in all output projections: KV groups and neurons have different shares of
 * their parameters there, and all removed units may be of the kind with the smaller share.
 */
export function leftInOutputs(spec: ModelSpec, sparsity: number): number {
  const spaces = spacesOf(spec);
  const channels = spaces.reduce((sum, space) => sum + channelCount(space), 0);
  const prunable = spaces.reduce((sum, { units, unitParameters }) => sum + units * unitParameters, 0);
  const shares = spaces.map(({ unitChannels, unitParameters }) => unitChannels / unitParameters);
  return spec.hiddenSize * (channels - sparsity * prunable * Math.min(...shares));
}
