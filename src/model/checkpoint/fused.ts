/**
 * Checkpoints that store several projections as one tensor: one after another (Phi-3: q, k, v as `qkv_proj`, gate and
 * up as `gate_up_proj`), or KV group by KV group (GPT-NeoX, Falcon: `query_key_value`). Reading splits them into the
 * usual projections, writing joins them again.
 */
import { checkRows } from "../../tensor/memory.ts";
import { elementCount, type RowRange, type Tensor, type TensorSource } from "../../tensor/tensor.ts";
import { familyByName } from "../families/families.ts";
import { FUSED_NAMES, type FusedName } from "../family.ts";
import { FUSIONS } from "../fusions.ts";
import { type LayerSpec, type ModelSpec, ownKeyDimOf, valueDimOf } from "../spec.ts";
import { moduleOf, projectionName } from "../weights.ts";

/** A tensor made of the rows of others. */
export interface FusedTensor {
  readonly name: string;
  readonly parts: readonly string[];
  /** Rows of each part that stand together, one part's after another's: those of a KV group, or all where null. */
  readonly blocks: readonly number[] | null;
}

/**
 * The fused tensors, weights and biases, of a model that have one of these names, in all layers.
 * @param names - those that may be read when absent: with biases, or by group, only in families that store such
 */
export function fusedTensors(
  spec: ModelSpec,
  names: readonly FusedName[] = readableNames(spec),
): readonly FusedTensor[] {
  return spec.layers.flatMap((layer, index) =>
    names.flatMap((fused) => {
      const { parts, byGroup, biases } = FUSIONS[fused];
      const [module] = moduleOf(parts[0]!).split(".");
      if (module === "mlp" && !hasMatrices(layer, fused)) return [];
      const { groupSize } = layer;
      return (biases ? (["weight", "bias"] as const) : (["weight"] as const)).map((kind) => ({
        name: `model.layers.${index}.${module}.${fused}.${kind}`,
        parts: parts.map((part) => projectionName(index, part, kind)),
        blocks: byGroup ? parts.map((part) => rowsOfGroup(spec, part, groupSize)) : null,
      }));
    }),
  );
}

/** Rows of a projection that a KV group has. */
function rowsOfGroup(spec: ModelSpec, matrix: string, groupSize: number): number {
  if (matrix.endsWith("q_proj")) return groupSize * spec.headDim;
  return matrix.endsWith("k_proj") ? ownKeyDimOf(spec, {}) : valueDimOf(spec, {});
}

/** Whether an FFN has the matrices that are fused under a name; those of experts are stored otherwise (experts.ts). */
function hasMatrices({ experts }: Pick<LayerSpec, "experts">, fused: FusedName): boolean {
  return fused.startsWith("shared_expert") ? experts?.shared !== undefined : experts === undefined;
}

function readableNames({ family }: ModelSpec): readonly FusedName[] {
  const { fused } = familyByName(family, "model").stored;
  return FUSED_NAMES.filter((name) => {
    const { biases, byGroup } = FUSIONS[name];
    return !(biases || byGroup) || fused.includes(name);
  });
}

/** Where the rows of a part stand in a fused tensor. */
class Part {
  readonly fused: string;
  /** Rows of the part, and of the fused tensor. */
  readonly rows: number;
  readonly total: number;
  /** Rows of the part that stand together, the rows from one such block to the next, and those before the first. */
  readonly #block: number;
  readonly #stride: number;
  readonly #before: number;

  constructor({ name, parts, blocks }: FusedTensor, index: number, rowsOf: (part: string) => number) {
    const sizes = blocks ?? parts.map(rowsOf);
    const before = sizes.slice(0, index).reduce((sum, size) => sum + size, 0);
    this.fused = name;
    this.rows = rowsOf(parts[index]!);
    this.total = parts.reduce((sum, part) => sum + rowsOf(part), 0);
    this.#block = sizes[index]!;
    this.#stride = sizes.reduce((sum, size) => sum + size, 0);
    this.#before = before;
  }

  /** Reads some of the part's rows; of the others, only those between them. */
  async read(source: TensorSource, { start, end }: RowRange): Promise<Tensor> {
    const firstBlock = Math.floor(start / this.#block);
    const first = this.#place(start);
    const stored = await source.read(this.fused, { start: first, end: this.#place(end - 1) + 1 });
    if (Math.floor((end - 1) / this.#block) === firstBlock) return stored;
    const width = elementCount(stored.shape.slice(1));
    const data = new Float32Array((end - start) * width);
    for (let row = start; row < end; row++) {
      const from = (this.#place(row) - first) * width;
      data.set(stored.data.subarray(from, from + width), (row - start) * width);
    }
    return { shape: stored.shape.with(0, end - start), data };
  }

  /** The row of the fused tensor that a row of the part is. */
  #place(row: number): number {
    return Math.floor(row / this.#block) * this.#stride + this.#before + (row % this.#block);
  }
}

/**
 * A view of the tensors with those that are fused as their parts; reads only the rows of a part. A fused tensor of the
 * wrong height has no parts, so that the check of shapes reports it.
 */
export function splitFused(source: TensorSource, spec: ModelSpec): TensorSource {
  const parts = new Map(
    fusedTensors(spec).flatMap((tensor) =>
      tensor.parts
        .map((name, index) => [name, new Part(tensor, index, (part) => rowsOf(spec, part))] as const)
        .filter(([, { fused, total }]) => source.info(fused)?.shape[0] === total),
    ),
  );
  if (parts.size === 0) return source;
  const fusedNames = new Set([...parts.values()].map(({ fused }) => fused));
  return {
    names: [...source.names.filter((name) => !fusedNames.has(name)), ...parts.keys()],
    info: (name) => {
      const part = parts.get(name);
      if (part === undefined) return source.info(name);
      const { dtype, shape } = source.info(part.fused)!;
      return { dtype, shape: shape.with(0, part.rows) };
    },
    read: async (name, rows) => {
      const part = parts.get(name);
      if (part === undefined) return source.read(name, rows);
      if (rows !== undefined) checkRows(rows, [part.rows], name);
      return part.read(source, rows ?? { start: 0, end: part.rows });
    },
    close: () => source.close(),
  };
}

/** Joins the rows of the parts of a fused tensor, block by block. @param read - reads a part */
export async function readFused(
  { parts, blocks }: FusedTensor,
  read: (part: string) => Promise<Tensor>,
): Promise<Tensor> {
  const tensors = await Promise.all(parts.map((part) => read(part)));
  const rows = tensors.reduce((sum, { shape }) => sum + shape[0]!, 0);
  const shape = tensors[0]!.shape.with(0, rows);
  const data = new Float32Array(elementCount(shape));
  const count = blocks === null ? 1 : tensors[0]!.shape[0]! / blocks[0]!;
  let offset = 0;
  for (let i = 0; i < count; i++) {
    for (const tensor of tensors) {
      const size = tensor.data.length / count;
      data.set(tensor.data.subarray(i * size, (i + 1) * size), offset);
      offset += size;
    }
  }
  return { shape, data };
}

/** Rows of a projection, by its checkpoint name. */
function rowsOf(spec: ModelSpec, name: string): number {
  const { neurons, kvGroups, groupSize, experts } = spec.layers[Number(name.split(".")[2])]!;
  if (name.includes(".shared_expert.")) return experts!.shared!;
  if (name.includes(".mlp.")) return neurons;
  return kvGroups * rowsOfGroup(spec, name.split(".")[4]!, groupSize);
}
