/**
 * Pads a model with neurons and KV groups of zeros, which do not change its outputs: a neuron with zero gate and up
 * rows gives 0 or nearly so, a KV group with zero values gives 0, and the columns that read them are zero. A norm over
 * all queries or keys of a layer divides by the root of their mean square, which zeros lower; its weights make up for
 * that. Projections times a power of two, which rounds nothing, raise the mean square again, so that the norm's epsilon
 * counts half to twice as much as before. Biases that the model lacks are zeros, too.
 */

import { groupPlaces } from "../model/alibi.ts";
import { expertNeurons, type LayerSpec, type ModelSpec } from "../model/spec.ts";
import { PER_LAYER } from "../model/weight_names.ts";
import { spaceId, weightsOf } from "../model/weights.ts";
import { sliceRows, unknownTensor } from "../tensor/memory.ts";
import { elementCount, type RowRange, type Tensor, type TensorSource, zeros } from "../tensor/tensor.ts";

/**
 * Reads a weight, or some rows of it, padded to its shape in the wider spec: new rows and columns come last, but those
 * of KV groups with slopes are between the others, where groups have the slopes that the source's lack, and those of an
 * expert come after its others.
 */
export type WeightReader = (name: string, rows?: RowRange) => Promise<Tensor>;

/** A reader of `source` padded to `spec`, none of whose widths may be below the source's, those of `narrow`. */
export function zeroFilled(source: TensorSource, spec: ModelSpec, narrow: ModelSpec = spec): WeightReader {
  const wide = new Map(weightsOf(spec).map((weight) => [weight.name, weight]));
  const places = spreadPlaces(narrow, spec);
  return async (name, rows) => {
    const weight = wide.get(name);
    if (weight === undefined) throw unknownTensor(name);
    const shape = rows === undefined ? weight.shape : weight.shape.with(0, rows.end - rows.start);
    const info = source.info(name);
    if (LACKING.test(name) && info === undefined) return zeros(shape);
    if (name === PER_LAYER.table) return inputRows(source, rows ?? { start: 0, end: shape[0]! });
    const axis = weight.axes.findIndex(({ space }) => places.has(space!));
    if (axis >= 0) {
      const { space, blockSize } = weight.axes[axis]!;
      const all = places.get(space!)!;
      // Matrices of experts can be large, and are read by rows.
      if (rows !== undefined && axis === 0 && blockSize === 1)
        return padded(await spreadRows(source, name, { rows, places: all }), shape);
      const filled = padded(spread(await source.read(name), axis, { blockSize, places: all }), weight.shape);
      return rows === undefined ? filled : sliceRows(filled, rows, name);
    }
    const stored = rows && rowsWithin(rows, info?.shape[0] ?? 0);
    if (stored !== undefined && stored.start === stored.end) return zeros(shape);
    return padded(scaled(await source.read(name, stored), factorOf(name)), shape);
  };

  /** Factor on a weight that makes up for zeros among normed queries or keys; 1 for others. */
  function factorOf(name: string): number {
    const [, prefix, projection, part] = NORMED.exec(name) ?? [];
    if (part === undefined) return 1;
    const norm = `${prefix}${projection}_norm.weight`;
    const [before, after] = [source.info(norm)?.shape, wide.get(norm)?.shape];
    // Norms over the channels of a head see no zeros beside others.
    if (before?.length !== 1 || after === undefined) return 1;
    const factor = Math.sqrt(after[0]! / before[0]!);
    return part === "proj" ? 2 ** Math.round(Math.log2(factor)) : 1 / factor;
  }
}

/**
 * Where the KV groups of layers with slopes, and the neurons of experts, are among those of wider ones, by space;
 * without what stays in place.
 */
function spreadPlaces(narrow: ModelSpec, wide: ModelSpec): ReadonlyMap<string, readonly number[]> {
  const entries = narrow.layers.flatMap((layer, index) => {
    const wider = wide.layers[index]!;
    const places = { kv: groupPlaces(layer, wider), ffn: neuronPlaces(layer, wider) };
    return (["kv", "ffn"] as const).flatMap((kind) => {
      const found = places[kind];
      return found === null ? [] : [[spaceId(index, kind), found] as const];
    });
  });
  return new Map(entries);
}

/** Where the neurons of experts are among those of wider ones; null where they are in place. */
function neuronPlaces(narrow: LayerSpec, wide: LayerSpec): readonly number[] | null {
  if (narrow.experts === undefined || narrow.neurons === wide.neurons) return null;
  const [before, after] = [expertNeurons(narrow), expertNeurons(wide)];
  return Array.from({ length: narrow.neurons }, (_, neuron) => {
    return Math.floor(neuron / before) * after + (neuron % before);
  });
}

/** A tensor whose blocks along an axis are at these places, with zeros before and between them. */
function spread(
  { shape, data }: Tensor,
  axis: number,
  { places, blockSize }: { readonly places: readonly number[]; readonly blockSize: number },
): Tensor {
  const size = elementCount(shape.slice(axis + 1)) * blockSize;
  const [before, after] = [places.length, places.at(-1)! + 1];
  const result = new Float32Array((data.length / before) * after);
  for (let block = 0; block * size < data.length; block++) {
    const to = Math.floor(block / before) * after + places[block % before]!;
    result.set(data.subarray(block * size, (block + 1) * size), to * size);
  }
  return { shape: shape.with(axis, after * blockSize), data: result };
}

/** Some rows of a tensor whose rows are at these places, without the zeros after the last of them. */
async function spreadRows(
  source: TensorSource,
  name: string,
  { rows, places }: { readonly rows: RowRange; readonly places: readonly number[] },
): Promise<Tensor> {
  const [start, end] = [rows.start, rows.end].map((row) => places.filter((place) => place < row).length);
  const stored = await source.read(name, { start: start!, end: end! });
  if (start === end) return stored;
  const there = places.slice(start, end).map((place) => place - rows.start);
  return spread(stored, 0, { blockSize: 1, places: there });
}

/** Rows of the table of layers' inputs; tokens that it has none for have that of token 0. */
async function inputRows(source: TensorSource, { start, end }: RowRange): Promise<Tensor> {
  const name = PER_LAYER.table;
  const count = source.info(name)!.shape[0]!;
  const { shape, data } = await source.read(name, rowsWithin({ start, end }, count));
  if (shape[0] === end - start) return { shape, data };
  const usual = await source.read(name, { start: 0, end: 1 });
  const filled = zeros(shape.with(0, end - start));
  filled.data.set(data);
  for (let at = data.length; at < filled.data.length; at += usual.data.length)
    filled.data.set(usual.data, at);
  return filled;
}

/** Those of the rows that a tensor of `count` rows has; the others are zeros. */
function rowsWithin({ start, end }: RowRange, count: number): RowRange {
  return { start: Math.min(start, count), end: Math.min(end, count) };
}

/** What a model may lack: biases, and keys and values of layers that take those of others. */
const LACKING = /_proj\.bias$|\.self_attn\.([kv]_proj|k_norm)\.weight$/;

/** Weights of queries and keys and of the norms on them: of which module, q or k, and which of the two. */
const NORMED = /^(.*\.)([qk])_(proj|norm)\.(?:weight|bias)$/;

function scaled({ shape, data }: Tensor, factor: number): Tensor {
  return { shape, data: factor === 1 ? data : data.map((value) => value * factor) };
}

function padded(tensor: Tensor, shape: readonly number[]): Tensor {
  if (tensor.shape.join() === shape.join()) return tensor;
  const rowSize = elementCount(tensor.shape.slice(1));
  const paddedRowSize = elementCount(shape.slice(1));
  const data = new Float32Array(elementCount(shape));
  for (let row = 0; row < tensor.shape[0]!; row++) {
    data.set(tensor.data.subarray(row * rowSize, (row + 1) * rowSize), row * paddedRowSize);
  }
  return { shape, data };
}
