/**
 * Norms of queries and keys that have weights for each head: one matrix here, and in some checkpoints one vector for
 * each head (`StableLmLayerNormPerHead` of modeling_stablelm.py). Reading joins these, writing takes them apart.
 */
import type { Tensor, TensorInfo, TensorSource } from "../../tensor/tensor.ts";
import type { Family } from "../family.ts";
import type { ModelSpec } from "../spec.ts";
import { isQkNorm } from "../weight_names.ts";
import { weightsOf } from "../weights.ts";
import { storedName } from "./stored_names.ts";

/** Stored names of the vectors that the norms of a model are in, head by head, by the norms' usual names. */
export function headNormVectors(spec: ModelSpec, family: Family): ReadonlyMap<string, readonly string[]> {
  if (!family.stored.listsHeadNorms || spec.qkNorm !== "each_head") return new Map();
  const norms = weightsOf(spec).filter(({ name }) => isQkNorm(name));
  return new Map(
    norms.map(({ name, shape }) => {
      const stored = storedName(name, family.stored);
      return [
        name,
        Array.from({ length: shape[0]! }, (_, head) => stored.replace(/weight$/, `norms.${head}.weight`)),
      ];
    }),
  );
}

/** A view of a checkpoint's tensors in which the norms of a layer's heads are one matrix. */
export function joinHeadNorms(source: TensorSource, spec: ModelSpec, family: Family): TensorSource {
  const vectors = headNormVectors(spec, family);
  if (vectors.size === 0) return source;
  const parts = new Set([...vectors.values()].flat());
  const info = (name: string): TensorInfo | undefined => {
    const heads = vectors.get(name)?.map((head) => source.info(head));
    if (heads === undefined) return source.info(name);
    const first = heads[0];
    const isWhole = heads.every((head) => head?.shape.join() === first?.shape.join());
    return first && isWhole ? { ...first, shape: [heads.length, ...first.shape] } : undefined;
  };
  return {
    names: [...source.names.filter((name) => !parts.has(name)), ...vectors.keys()],
    info,
    read: async (name, rows): Promise<Tensor> => {
      const heads = vectors.get(name);
      if (heads === undefined) return source.read(name, rows);
      const { start, end } = rows ?? { start: 0, end: heads.length };
      const tensors = await Promise.all(heads.slice(start, end).map((head) => source.read(head)));
      const data = Float32Array.from(tensors.flatMap((tensor) => [...tensor.data]));
      return { shape: [end - start, spec.headDim], data };
    },
    close: () => source.close(),
  };
}
