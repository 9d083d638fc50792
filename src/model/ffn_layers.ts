/** Layers with an FFN, and without. */
import { type LayerSpec, type ModelSpec, ofLayer } from "./spec.ts";

/** Whether a layer has an FFN. */
export function hasFfn({ neurons }: Pick<LayerSpec, "neurons">): boolean {
  return neurons > 0;
}

/** The layers with an FFN. */
export function ffnLayers({ layers }: Pick<ModelSpec, "layers">): readonly LayerSpec[] {
  return layers.filter(hasFfn);
}

/** A layer without its FFN. */
export function withoutFfn({ experts: _, ...layer }: LayerSpec): LayerSpec {
  const bare = { ...layer, neurons: 0 };
  return { ...bare, biases: ofLayer(layer.biases, bare) };
}
