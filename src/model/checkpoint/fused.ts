/**
 * Checkpoints that store several projections as one tensor (Phi-3: q, k, v as `qkv_proj`, gate and up as
 * `gate_up_proj`). Reading splits them into the usual seven projections, writing joins them again.
 */
import { internalError } from "../../errors.ts";
import { checkRows } from "../../tensor/memory.ts";
import { elementCount, type Tensor, type TensorSource } from "../../tensor/tensor.ts";
import { FUSED_NAMES, type FusedName } from "../family.ts";
import { FUSIONS, projectionName } from "../spaces.ts";
import { type ModelSpec, PROJECTION_MODULE } from "../spec.ts";

/** A tensor made of the rows of others. */
export interface FusedTensor {
  readonly name: string;
  readonly parts: readonly string[];
}

/** The fused tensors of a model that have one of these names, in all layers. */
export function fusedTensors(
  spec: ModelSpec,
  names: readonly FusedName[] = FUSED_NAMES,
): readonly FusedTensor[] {
  return spec.layers.flatMap((_, index) =>
    names.map((fused) => {
      const parts = FUSIONS[fused];
      return {
        name: `model.layers.${index}.${PROJECTION_MODULE[parts[0]!]}.${fused}.weight`,
        parts: parts.map((part) => projectionName(index, part)),
      };
    }),
  );
}

/** Rows `start` to `end` of a fused tensor, which has `total`. */
interface Part {
  readonly fused: string;
  readonly start: number;
  readonly end: number;
  readonly total: number;
}

/**
 * A view of the tensors with those that are fused as their parts; reads only the rows of a part. A fused tensor of the
 * wrong height shows its own shape for every part, so that the check of shapes reports it.
 */
export function splitFused(source: TensorSource, spec: ModelSpec): TensorSource {
  const partRows = new Map<string, Part>();
  const fusedNames = new Set<string>();
  for (const { name, parts } of fusedTensors(spec)) {
    if (source.info(name) === undefined) continue;
    fusedNames.add(name);
    const total = parts.reduce((sum, part) => sum + rowsOf(spec, part), 0);
    let start = 0;
    for (const part of parts) {
      const end = start + rowsOf(spec, part);
      partRows.set(part, { fused: name, start, end, total });
      start = end;
    }
  }
  if (fusedNames.size === 0) return source;
  return {
    names: [...source.names.filter((name) => !fusedNames.has(name)), ...partRows.keys()],
    info: (name) => {
      const part = partRows.get(name);
      if (part === undefined) return source.info(name);
      const fused = source.info(part.fused);
      if (fused?.shape[0] !== part.total) return fused;
      return { dtype: fused.dtype, shape: fused.shape.with(0, part.end - part.start) };
    },
    read: async (name, rows) => {
      const part = partRows.get(name);
      if (part === undefined) return source.read(name, rows);
      if (rows !== undefined) checkRows(rows, [part.end - part.start], name);
      const range = { start: part.start + (rows?.start ?? 0), end: rows ? part.start + rows.end : part.end };
      return source.read(part.fused, range);
    },
    close: () => source.close(),
  };
}

/** Reads the parts of a fused tensor and joins their rows. */
export async function readFused(source: TensorSource, { name, parts }: FusedTensor): Promise<Tensor> {
  const tensors = await Promise.all(parts.map((part) => source.read(part)));
  const width = tensors[0]!.shape[1];
  if (width === undefined) throw internalError(`${name} is made of vectors`);
  const rows = tensors.reduce((sum, { shape }) => sum + shape[0]!, 0);
  const data = new Float32Array(elementCount([rows, width]));
  let offset = 0;
  for (const tensor of tensors) {
    data.set(tensor.data, offset);
    offset += tensor.data.length;
  }
  return { shape: [rows, width], data };
}

/** Rows of a projection, by its checkpoint name. */
function rowsOf({ layers, headDim }: ModelSpec, name: string): number {
  const { neurons, kvGroups, groupSize } = layers[Number(name.split(".")[2])]!;
  if (name.includes(".mlp.")) return neurons;
  return kvGroups * headDim * (name.includes("q_proj") ? groupSize : 1);
}
