/** Numbers of parameters, as PyTorch counts them. */
import { elementCount } from "../tensor/tensor.ts";
import type { ModelSpec } from "./spec.ts";
import { layerWeightsOf, type WeightSpec, weightsOf } from "./weights.ts";

/** Parameters of one decoder layer. */
export function layerParameters(spec: ModelSpec, index: number): number {
  return learnedElements(layerWeightsOf(spec, index));
}

/** Parameters of all decoder layers. */
export function layersParameters(spec: ModelSpec): number {
  return spec.layers.reduce((sum, _, index) => sum + layerParameters(spec, index), 0);
}

/** Parameters of the whole model. */
export function parameterCount(spec: ModelSpec): number {
  return learnedElements(weightsOf(spec));
}

/** Elements without the constants of activations, which are buffers in PyTorch, not parameters. */
function learnedElements(weights: readonly WeightSpec[]): number {
  const learned = weights.filter(({ shape }) => shape.length > 0);
  return learned.reduce((sum, { shape }) => sum + elementCount(shape), 0);
}
