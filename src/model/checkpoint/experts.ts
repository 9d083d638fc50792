/**
 * Checkpoints whose experts have tensors of their own (Mixtral, Qwen3 MoE), or one for all of them (Granite MoE: [E,
 * rows, columns], gpt-oss: [E, columns, rows]). Reading joins them to the usual projections of an FFN, whose neurons
 * are those of one expert after another; writing takes them apart again.
 */
import { getOrMake } from "../../base/map_values.ts";
import { type DerivedTensor, derivedSource } from "../../tensor/derived.ts";
import { putColumns, type RowRange, type Tensor, type TensorSource, zeros } from "../../tensor/tensor.ts";
import { transposed as turned } from "../../tensor/transposed.ts";
import { CORRECTION } from "../expert_weights.ts";
import { STACKED_EXPERTS } from "../families/qwen.ts";
import type { Family } from "../family.ts";
import type { StoredExperts } from "../family_tensors.ts";
import type { Projection } from "../projections.ts";
import { expertNeurons, type LayerSpec, type ModelSpec } from "../spec.ts";
import { layerOfName, projectionName } from "../weight_names.ts";
import { correctionsOf } from "../weights.ts";
import { BLOCKS, type BlockTensor, partName } from "./mxfp4.ts";

/** A stored tensor of one expert, or of all. */
export interface ExpertTensor extends StoredExperts {
  /** Null where it has all of them. */
  readonly expert: number | null;
  readonly layer: number;
}

/**
 * The tensors of experts that a model may be read from, layer by layer. A layer with fewer tensors in the source than
 * experts does not have one for each; config.json may ask for millions of them. Of two that a stored tensor fits, the
 * first counts: square matrices are not turned, as in transformers (`Transpose` of core_model_loading.py).
 */
export function readableExperts(
  source: Pick<TensorSource, "names">,
  spec: ModelSpec,
  { stored }: Pick<Family, "stored">,
): readonly ExpertTensor[] {
  if (stored.experts === null) return [];
  const own = new Set(stored.experts.map(({ name }) => name));
  // Those which transformers 5 loads too, and as which Qwen 3.5 MoE was published.
  const together = STACKED_EXPERTS.filter(({ name }) => !own.has(name));
  const { experts: ofFamily, expertsInOthers = [] } = stored;
  const readable = [...ofFamily, ...together, ...expertsInOthers, ...inBlocks(ofFamily)];
  const ofAll = readable.filter(({ name }) => !name.includes("*"));
  const counts = new Map<number, number>();
  for (const name of source.names) {
    const layer = layerOfName(name);
    counts.set(layer, (counts.get(layer) ?? 0) + 1);
  }
  return spec.layers.flatMap(({ experts }, layer) => {
    const mayBeApart = (counts.get(layer) ?? 0) >= (experts?.count ?? 0);
    return tensorsOfLayer(spec, layer, mayBeApart ? readable : ofAll);
  });
}

/** Tensors [E, rows, columns] in MXFP4 (mxfp4.ts), in place of transposed ones, as gpt-oss was published. */
function inBlocks(stored: readonly StoredExperts[]): readonly StoredExperts[] {
  return stored
    .filter(({ transposed }) => transposed)
    .flatMap(({ name, parts }) =>
      parts.map((part, index) => ({ name: partName(`${name}${BLOCKS}`, index), parts: [part] })),
    );
}

/** The tensors of experts that may be in MXFP4. */
export function blockTensors(spec: ModelSpec, { stored }: Pick<Family, "stored">): readonly BlockTensor[] {
  const transposed = (stored.experts ?? []).filter((each) => each.transposed);
  const tensors = spec.layers.flatMap((_, layer) => tensorsOfLayer(spec, layer, transposed));
  return tensors.map(({ name, parts }) => ({ name: `${name}${BLOCKS}`, parts: parts.length }));
}

/**
 * The tensors of experts of a model as its family's checkpoints have them, layer by layer.
 * @param layers - those that are asked for; all when absent
 */
export function expertTensors(
  spec: ModelSpec,
  { stored }: Pick<Family, "stored">,
  layers: readonly number[] = [...spec.layers.keys()],
): readonly ExpertTensor[] {
  return layers.flatMap((layer) => tensorsOfLayer(spec, layer, stored.experts ?? []));
}

function tensorsOfLayer(
  spec: ModelSpec,
  layer: number,
  stored: readonly StoredExperts[],
): readonly ExpertTensor[] {
  const { experts } = spec.layers[layer]!;
  if (experts === undefined) return [];
  return stored.flatMap((tensor): readonly ExpertTensor[] => {
    const name = `model.layers.${layer}.${tensor.name}`;
    if (!name.includes("*")) return [{ ...tensor, name, expert: null, layer }];
    return Array.from({ length: experts.count }, (_, expert) => {
      return { ...tensor, name: name.replace("*", String(expert)), expert, layer };
    });
  });
}

/** The usual names of the tensors that a tensor of experts has a part of. */
export function joinedNames({
  layer,
  parts,
  bias,
}: Pick<ExpertTensor, "layer" | "parts" | "bias">): readonly string[] {
  return parts.map((part) => projectionName(layer, part, bias ? "bias" : "weight"));
}

/** The shape of a tensor of experts. */
export function expertShape(spec: ModelSpec, tensor: ExpertTensor): readonly number[] {
  const { layer, expert, parts, transposed, bias } = tensor;
  const { count } = spec.layers[layer]!.experts!;
  const neurons = expertNeurons(spec.layers[layer]!);
  const matrix = isOutput(parts) ? [spec.hiddenSize, neurons] : [parts.length * neurons, spec.hiddenSize];
  const own = bias ? matrix.slice(0, 1) : transposed ? matrix.toReversed() : matrix;
  return expert === null ? [count, ...own] : own;
}

/** The row of an expert's matrix in a tensor that a row of a part is. @param size - rows of each part */
function lineOf(
  { parts, interleaved }: StoredExperts,
  part: Projection,
  size: number,
): (row: number) => number {
  const index = parts.indexOf(part);
  return interleaved ? (row) => row * parts.length + index : (row) => index * size + row;
}

/** The shape that a family's checkpoints have for a weight that stands alone. @param shape - its usual one */
export function loneShape(
  name: string,
  shape: readonly number[],
  { stored }: Pick<Family, "stored">,
): readonly number[] {
  return stored.correctionsInRows && name.endsWith(`.${CORRECTION}`) ? [1, ...shape] : shape;
}

/** A view of a checkpoint's tensors with corrections of routers as vectors; those of other shapes stay as they are. */
export function withVectors(source: TensorSource, spec: ModelSpec, family: Family): TensorSource {
  const vectors = new Map<string, DerivedTensor>();
  for (const { name, shape } of correctionsOf(spec)) {
    const stored = source.info(name);
    if (stored?.shape.join() !== loneShape(name, shape, family).join()) continue;
    const read = async ({ start, end }: RowRange): Promise<Tensor> => {
      const { data } = await source.read(name);
      return { shape: [end - start], data: data.subarray(start, end) };
    };
    vectors.set(name, { info: { dtype: stored.dtype, shape }, read });
  }
  return derivedSource(source, vectors);
}

/** A view of a checkpoint's tensors with those of experts joined; those of other shapes stay as they are. */
export function joinExperts(source: TensorSource, spec: ModelSpec, family: Family): TensorSource {
  const joined = new Map<string, { readonly part: Projection; readonly tensors: ExpertTensor[] }>();
  const found = new Set<string>();
  for (const tensor of readableExperts(source, spec, family)) {
    const shape = expertShape(spec, tensor);
    if (source.info(tensor.name)?.shape.join() !== shape.join()) continue;
    found.add(tensor.name);
    for (const [index, name] of joinedNames(tensor).entries()) {
      const part = tensor.parts[index]!;
      getOrMake(joined, name, () => ({ part, tensors: [] })).tensors.push(tensor);
    }
  }
  const whole = new Map<string, DerivedTensor>();
  for (const [name, { part, tensors }] of joined) {
    const matrix = new JoinedExperts(spec, part, tensors);
    if (!matrix.isComplete) continue;
    const { dtype } = source.info(tensors[0]!.name)!;
    whole.set(name, { info: { dtype, shape: matrix.shape }, read: (rows) => matrix.read(source, rows) });
  }
  return derivedSource(source, whole, found);
}

/** The shape of a projection of all experts, or of its biases. */
function joinedShape(
  { hiddenSize }: ModelSpec,
  { neurons, experts }: LayerSpec,
  { parts, bias }: Pick<StoredExperts, "parts" | "bias">,
): readonly number[] {
  if (bias) return isOutput(parts) ? [experts!.count, hiddenSize] : [neurons];
  return isOutput(parts) ? [hiddenSize, neurons] : [neurons, hiddenSize];
}

/** A projection of all experts, or its biases. */
class JoinedExperts {
  readonly tensors: readonly ExpertTensor[];
  readonly shape: readonly number[];
  readonly isComplete: boolean;
  readonly #part: Projection;
  readonly #count: number;
  /** Neurons of an expert. */
  readonly #size: number;

  constructor(spec: ModelSpec, part: Projection, tensors: readonly ExpertTensor[]) {
    const layer = spec.layers[tensors[0]!.layer]!;
    this.tensors = tensors;
    this.#part = part;
    this.#count = layer.experts!.count;
    this.#size = expertNeurons(layer);
    this.isComplete = tensors[0]!.expert === null || tensors.length === this.#count;
    this.shape = joinedShape(spec, layer, { ...tensors[0]!, parts: [part] });
  }

  async read(source: TensorSource, { start, end }: RowRange): Promise<Tensor> {
    if (this.tensors[0]!.bias) return this.#biases(source, { start, end });
    const columns = this.shape[1]!;
    const result = zeros([end - start, columns]);
    if (isOutput([this.#part])) {
      for (let expert = 0; expert < this.#count; expert++) {
        putColumns(result, await this.#matrix(source, expert, { start, end }), expert * this.#size);
      }
      return result;
    }
    for (let row = start; row < end; ) {
      const expert = Math.floor(row / this.#size);
      const first = expert * this.#size;
      const last = Math.min(end, first + this.#size);
      const { data } = await this.#matrix(source, expert, { start: row - first, end: last - first });
      result.data.set(data, (row - start) * columns);
      row = last;
    }
    return result;
  }

  /** Rows of an expert's matrix of the projection. */
  async #matrix(source: TensorSource, expert: number, { start, end }: RowRange): Promise<Tensor> {
    const tensor = this.tensors.find((each) => each.expert === expert) ?? this.tensors[0]!;
    const place = lineOf(tensor, this.#part, this.#size);
    if (tensor.expert !== null)
      return source.read(tensor.name, { start: place(start), end: place(end - 1) + 1 });
    const stored = await source.read(tensor.name, { start: expert, end: expert + 1 });
    const matrix = { shape: stored.shape.slice(1), data: stored.data };
    const { shape, data } = tensor.transposed ? turned(matrix) : matrix;
    const width = shape[1]!;
    if (!tensor.interleaved)
      return {
        shape: [end - start, width],
        data: data.subarray(place(start) * width, place(end - 1) * width + width),
      };
    const rows = new Float32Array((end - start) * width);
    for (let row = start; row < end; row++) {
      const from = place(row) * width;
      rows.set(data.subarray(from, from + width), (row - start) * width);
    }
    return { shape: [end - start, width], data: rows };
  }

  /** Biases of all experts together: those of what they write, [E, C], or of neurons, [F]. */
  async #biases(source: TensorSource, { start, end }: RowRange): Promise<Tensor> {
    const tensor = this.tensors[0]!;
    if (isOutput([this.#part])) return source.read(tensor.name, { start, end });
    const { shape, data } = await source.read(tensor.name);
    const place = lineOf(tensor, this.#part, this.#size);
    const biases = Float32Array.from({ length: end - start }, (_, index) => {
      const [expert, row] = [Math.floor((start + index) / this.#size), (start + index) % this.#size];
      return data[expert * shape[1]! + place(row)]!;
    });
    return { shape: [end - start], data: biases };
  }
}

/** The tensor of experts, from the joined projections. @param read - reads one of them, or some of its rows */
export async function readExperts(
  spec: ModelSpec,
  tensor: ExpertTensor,
  read: (name: string, rows?: RowRange) => Promise<Tensor>,
): Promise<Tensor> {
  const layer = spec.layers[tensor.layer]!;
  const { count } = layer.experts!;
  const experts =
    tensor.expert === null ? Array.from({ length: count }, (_, expert) => expert) : [tensor.expert];
  const result = zeros(expertShape(spec, tensor));
  const matrixOf = isOutput(tensor.parts) ? outputMatrices : inputMatrices;
  const each = await (tensor.bias ? biasesOf : matrixOf)(spec, tensor, read);
  const size = result.data.length / experts.length;
  for (const [index, expert] of experts.entries()) {
    const matrix = await each(expert);
    result.data.set((tensor.transposed ? turned(matrix) : matrix).data, index * size);
  }
  return result;
}

type ReadProjection = Parameters<typeof readExperts>[2];
/** Gives an expert's matrix in a tensor, [rows, columns]. */
type EachExpert = (expert: number) => Promise<Tensor>;

async function outputMatrices(
  spec: ModelSpec,
  { layer }: ExpertTensor,
  read: ReadProjection,
): Promise<EachExpert> {
  const { neurons } = spec.layers[layer]!;
  const size = expertNeurons(spec.layers[layer]!);
  const { data } = await read(projectionName(layer, "down_proj"));
  return async (expert) => {
    const result = zeros([spec.hiddenSize, size]);
    for (let row = 0; row < spec.hiddenSize; row++) {
      const start = row * neurons + expert * size;
      result.data.set(data.subarray(start, start + size), row * size);
    }
    return result;
  };
}

async function inputMatrices(
  spec: ModelSpec,
  tensor: ExpertTensor,
  read: ReadProjection,
): Promise<EachExpert> {
  const { layer, parts } = tensor;
  const [size, width] = [expertNeurons(spec.layers[layer]!), spec.hiddenSize];
  return async (expert) => {
    const result = zeros([parts.length * size, width]);
    for (const part of parts) {
      const rows = { start: expert * size, end: (expert + 1) * size };
      const { data } = await read(projectionName(layer, part), rows);
      const place = lineOf(tensor, part, size);
      for (let row = 0; row < size; row++)
        result.data.set(data.subarray(row * width, (row + 1) * width), place(row) * width);
    }
    return result;
  };
}

async function biasesOf(spec: ModelSpec, tensor: ExpertTensor, read: ReadProjection): Promise<EachExpert> {
  const { layer, parts } = tensor;
  const size = isOutput(parts) ? spec.hiddenSize : expertNeurons(spec.layers[layer]!);
  const wholes = await Promise.all(parts.map((part) => read(projectionName(layer, part, "bias"))));
  return async (expert) => {
    const result = zeros([parts.length * size]);
    for (const [index, part] of parts.entries()) {
      const { data } = wholes[index]!;
      const place = lineOf(tensor, part, size);
      for (let row = 0; row < size; row++) result.data[place(row)] = data[expert * size + row]!;
    }
    return result;
  };
}

function isOutput(parts: StoredExperts["parts"]): boolean {
  return parts[0] === "down_proj";
}
