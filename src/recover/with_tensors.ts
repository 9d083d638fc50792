/**
 * A model with some tensors replaced or added: recoveries return their results this way, without copying the rest.
 */
import type { Model } from "../model/model.ts";
import type { LayerSpec } from "../model/spec.ts";
import { memorySource } from "../tensor/memory.ts";
import type { AnyTensor } from "../tensor/stash.ts";
import type { RowRange, Tensor, TensorInfo } from "../tensor/tensor.ts";

/**
 * The model with these tensors in place of, or after, its own.
 * @param tensors - by name; new names are added after the model's own, in the map's order
 * @param layers - the layers with the biases that the tensors add; the model's own when absent
 */
export function withTensors(
  model: Model,
  tensors: ReadonlyMap<string, AnyTensor>,
  layers: readonly LayerSpec[] = model.spec.layers,
): Model {
  const { weights: base } = model;
  const replaced = memorySource(tensors);
  const has = (name: string): boolean => tensors.has(name);
  const weights = {
    names: [...base.names, ...replaced.names.filter((name) => base.info(name) === undefined)],
    info: (name: string): TensorInfo | undefined => (has(name) ? replaced : base).info(name),
    read: (name: string, rows?: RowRange): Promise<Tensor> => (has(name) ? replaced : base).read(name, rows),
    close: (): Promise<void> => base.close(),
  };
  return { ...model, spec: { ...model.spec, layers }, weights };
}
