/**
 * A model with some tensors replaced or added: how every recovery gives its result back without copying the rest.
 */
import type { Model } from "../model/model.ts";
import type { ModelSpec } from "../model/spec.ts";
import { memorySource } from "../tensor/memory.ts";
import type { AnyTensor } from "../tensor/stash.ts";
import type { RowRange, Tensor, TensorInfo } from "../tensor/tensor.ts";

/**
 * @param tensors - by name; those the model has not are added after its own, in the map's order
 * @param specChange - fields of the spec that change with the tensors, for instance layers that gain a bias
 */
export function withTensors(
  model: Model,
  tensors: ReadonlyMap<string, AnyTensor>,
  specChange: Partial<ModelSpec> = {},
): Model {
  const { weights: base } = model;
  const own = memorySource(tensors);
  const has = (name: string): boolean => tensors.has(name);
  const weights = {
    names: [...base.names, ...own.names.filter((name) => base.info(name) === undefined)],
    info: (name: string): TensorInfo | undefined => (has(name) ? own : base).info(name),
    read: (name: string, rows?: RowRange): Promise<Tensor> => (has(name) ? own : base).read(name, rows),
    close: (): Promise<void> => base.close(),
  };
  return { ...model, spec: { ...model.spec, ...specChange }, weights };
}
