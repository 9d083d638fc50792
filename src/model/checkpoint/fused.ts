/**
 * Checkpoints that store several projections as one tensor: one after another (Phi-3: q, k, v as `qkv_proj`, gate and
 * up as `gate_up_proj`), KV group by KV group (GPT-NeoX, Falcon: `query_key_value`), key head by key head (Qwen3-Next:
 * `in_proj_qkvz`), or quarter by quarter of the heads (CodeGen's `qkv_proj`, here `query_value_key`). Reading splits
 * them into the usual projections, writing joins them again.
 */
import { type DerivedTensor, derivedSource } from "../../tensor/derived.ts";
import { elementCount, type RowRange, type Tensor, type TensorSource } from "../../tensor/tensor.ts";
import { familyByName } from "../families/families.ts";
import { FUSED_NAMES, type FusedName } from "../family_tensors.ts";
import { FUSIONS } from "../fusions.ts";
import { type DeltaSpec, linearChannels } from "../mixer_spec.ts";
import { type LayerSpec, type ModelSpec, ownKeyDimOf, valueDimOf } from "../spec.ts";
import { layerOfName, moduleOf, projectionName } from "../weight_names.ts";

/** A tensor made of the rows of others. */
export interface FusedTensor {
  readonly name: string;
  readonly parts: readonly string[];
  /** What takes turns in it, from the first rows to the last; null where one part comes after another. */
  readonly strips: readonly Strip[] | null;
}

/** Rows of a part, of which so many stand together. */
interface Strip {
  /** The part, by number. */
  readonly part: number;
  /** The first of the rows, their number, and that of those in one turn. */
  readonly first: number;
  readonly rows: number;
  readonly block: number;
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
      const { parts, by, biases } = FUSIONS[fused];
      const [module] = moduleOf(parts[0]!).split(".");
      if (module === "mlp" && !hasMatrices(layer, fused)) return [];
      if (by === "key_head" && layer.mixer?.type !== "delta") return [];
      return (biases ? (["weight", "bias"] as const) : (["weight"] as const)).map((kind) => ({
        name: `model.layers.${index}.${module}.${fused}.${kind}`,
        parts: parts.map((part) => projectionName(index, part, kind)),
        strips: stripsOf(spec, layer, fused),
      }));
    }),
  );
}

/** Rows of a projection that a KV group has. */
function rowsOfGroup(spec: ModelSpec, matrix: string, groupSize: number): number {
  if (matrix.endsWith("q_proj")) return groupSize * spec.headDim;
  return matrix.endsWith("k_proj") ? ownKeyDimOf(spec, {}) : valueDimOf(spec, {});
}

function stripsOf(spec: ModelSpec, layer: LayerSpec, fused: FusedName): readonly Strip[] | null {
  const { parts, by } = FUSIONS[fused];
  if (by === null) return null;
  if (by !== "key_head") {
    const together = by === "kv_group" ? 1 : layer.kvGroups / 4;
    const ofGroup = parts.map((part) => rowsOfGroup(spec, part, layer.groupSize));
    return ofGroup.map((rows, part) => ({
      part,
      first: 0,
      rows: layer.kvGroups * rows,
      block: together * rows,
    }));
  }
  const { keyHeads, valueHeads, keyDim, valueDim } = layer.mixer as DeltaSpec;
  const each = valueHeads / keyHeads;
  // Rows of a key head in each strip, by part.
  const blocks =
    fused === "in_proj_ba" ? [[each], [each]] : [[keyDim, keyDim, each * valueDim], [each * valueDim]];
  return blocks.flatMap((ofPart, part) =>
    ofPart.map((block, strip) => {
      const before = ofPart.slice(0, strip).reduce((sum, size) => sum + size, 0);
      return { part, first: keyHeads * before, rows: keyHeads * block, block };
    }),
  );
}

/** Whether an FFN has the matrices that are fused under a name; those of experts are stored otherwise (experts.ts). */
function hasMatrices({ experts }: Pick<LayerSpec, "experts">, fused: FusedName): boolean {
  return fused.startsWith("shared_expert") ? experts?.shared !== undefined : experts === undefined;
}

function readableNames({ family }: ModelSpec): readonly FusedName[] {
  const { fused, fusedInOthers = [] } = familyByName(family, "model").stored;
  return FUSED_NAMES.filter((name) => {
    const { biases, by } = FUSIONS[name];
    return (!biases && by === null) || fused.includes(name) || fusedInOthers.includes(name);
  });
}

/** Where rows of a part stand in a fused tensor. */
class FusedRows {
  /** Those of the part, and the rows of the fused tensor. */
  readonly first: number;
  readonly end: number;
  readonly #fused: string;
  /** Rows that stand together, the rows from one such block to the next, and those before the first. */
  readonly #block: number;
  readonly #stride: number;
  readonly #before: number;

  constructor(fused: string, strips: readonly Strip[], index: number) {
    const { first, rows, block } = strips[index]!;
    const blocks = strips.map((strip) => strip.block);
    this.#fused = fused;
    this.first = first;
    this.end = first + rows;
    this.#block = block;
    this.#stride = blocks.reduce((sum, size) => sum + size, 0);
    this.#before = blocks.slice(0, index).reduce((sum, size) => sum + size, 0);
  }

  /** Reads some of them; of the others, only those between them. */
  async read(source: TensorSource, { start, end }: RowRange): Promise<Tensor> {
    const first = this.#place(start);
    const stored = await source.read(this.#fused, { start: first, end: this.#place(end - 1) + 1 });
    if (stored.shape[0] === end - start) return stored;
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
    const own = row - this.first;
    return Math.floor(own / this.#block) * this.#stride + this.#before + (own % this.#block);
  }
}

/** A part of a fused tensor. */
class Part {
  readonly fused: string;
  /** Rows of the part, and of the fused tensor. */
  readonly rows: number;
  readonly total: number;
  readonly #places: readonly FusedRows[];

  constructor({ name, parts, strips }: FusedTensor, index: number, rowsOf: (part: string) => number) {
    const sizes = parts.map(rowsOf);
    const all = strips ?? sizes.map((rows, part) => ({ part, first: 0, rows, block: rows }));
    this.fused = name;
    this.rows = sizes[index]!;
    this.total = sizes.reduce((sum, size) => sum + size, 0);
    this.#places = all.flatMap(({ part }, strip) =>
      part === index ? [new FusedRows(name, all, strip)] : [],
    );
  }

  async read(source: TensorSource, { start, end }: RowRange): Promise<Tensor> {
    const pieces: Tensor[] = [];
    for (const places of this.#places) {
      const rows = { start: Math.max(start, places.first), end: Math.min(end, places.end) };
      if (rows.start < rows.end) pieces.push(await places.read(source, rows));
    }
    if (pieces.length === 1) return pieces[0]!;
    const width = elementCount(pieces[0]!.shape.slice(1));
    const data = new Float32Array((end - start) * width);
    let offset = 0;
    for (const piece of pieces) {
      data.set(piece.data, offset);
      offset += piece.data.length;
    }
    return { shape: pieces[0]!.shape.with(0, end - start), data };
  }
}

/**
 * A view of the tensors with those that are fused as their parts; reads only the rows of a part. A fused tensor of the
 * wrong height has no parts, so that the check of shapes reports it.
 */
export function splitFused(source: TensorSource, spec: ModelSpec): TensorSource {
  const parts = new Map<string, DerivedTensor>();
  const fusedNames = new Set<string>();
  for (const tensor of fusedTensors(spec)) {
    const stored = source.info(tensor.name);
    if (stored === undefined) continue;
    for (const [index, name] of tensor.parts.entries()) {
      const part = new Part(tensor, index, (each) => rowsOf(spec, each));
      if (stored.shape[0] !== part.total) continue;
      const info = { dtype: stored.dtype, shape: stored.shape.with(0, part.rows) };
      parts.set(name, { info, read: (rows) => part.read(source, rows) });
      fusedNames.add(tensor.name);
    }
  }
  return derivedSource(source, parts, fusedNames);
}

/** Joins the rows of the parts of a fused tensor, strip by strip. @param read - reads a part */
export async function readFused(
  { parts, strips }: FusedTensor,
  read: (part: string) => Promise<Tensor>,
): Promise<Tensor> {
  const tensors = await Promise.all(parts.map((part) => read(part)));
  const rows = tensors.reduce((sum, { shape }) => sum + shape[0]!, 0);
  const shape = tensors[0]!.shape.with(0, rows);
  const data = new Float32Array(elementCount(shape));
  const width = elementCount(shape.slice(1));
  const all =
    strips ?? tensors.map(({ shape: [own = 0] }, part) => ({ part, first: 0, rows: own, block: own }));
  const turns = all[0]!.rows / all[0]!.block;
  let offset = 0;
  for (let turn = 0; turn < turns; turn++) {
    for (const { part, first, block } of all) {
      const start = (first + turn * block) * width;
      data.set(tensors[part]!.data.subarray(start, start + block * width), offset);
      offset += block * width;
    }
  }
  return { shape, data };
}

/** Rows of a projection, by its checkpoint name. */
function rowsOf(spec: ModelSpec, name: string): number {
  const { neurons, kvGroups, groupSize, experts, mixer } = spec.layers[layerOfName(name)]!;
  if (mixer?.type === "delta" && name.includes(".linear_attn.")) {
    const { values, filtered } = linearChannels(mixer);
    if (name.includes("in_proj_qkv")) return filtered;
    return name.includes("in_proj_z") ? values : mixer.valueHeads;
  }
  if (name.includes(".shared_expert.")) return experts!.shared!;
  if (name.includes(".mlp.")) return neurons;
  return kvGroups * rowsOfGroup(spec, name.split(".")[4]!, groupSize);
}
