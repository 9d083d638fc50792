/**
 * Tensors that some checkpoints have in parts, the rows of one after those of another: norms with weights for each head
 * as a vector for each (`StableLmLayerNormPerHead` of modeling_stablelm.py), and matrices of linear attention as those
 * of queries, keys and values (modeling_olmo_hybrid.py). Reading joins them, writing takes them apart.
 */
import { derivedSource } from "../../tensor/derived.ts";
import {
  elementCount,
  type RowRange,
  type Tensor,
  type TensorInfo,
  type TensorSource,
} from "../../tensor/tensor.ts";
import type { Family } from "../family.ts";
import { linearChannels } from "../mixer_spec.ts";
import type { ModelSpec } from "../spec.ts";
import { isQkNorm } from "../weight_names.ts";
import { type WeightSpec, weightsOf } from "../weights.ts";
import { storedName } from "./stored_names.ts";

/** Some rows of a tensor, as a tensor of their own. */
export interface TensorPart {
  /** Its name in the checkpoint. */
  readonly name: string;
  readonly rows: RowRange;
  readonly shape: readonly number[];
}

/** The parts of the tensors that checkpoints of a family have in parts, by the usual names of these. */
export function partedTensors(spec: ModelSpec, family: Family): ReadonlyMap<string, readonly TensorPart[]> {
  const parted = weightsOf(spec).map((weight) => {
    const parts = [...headVectors(weight, spec, family), ...linearParts(weight, spec, family)];
    return [weight.name, parts] as const;
  });
  return new Map(parted.filter(([, parts]) => parts.length > 0));
}

/** A vector for each head of a norm that has weights for each. */
function headVectors(
  { name, shape: [heads = 0, ...vector] }: WeightSpec,
  { qkNorm }: ModelSpec,
  { stored }: Family,
): readonly TensorPart[] {
  if (!stored.listsHeadNorms || qkNorm !== "each_head" || !isQkNorm(name)) return [];
  return Array.from({ length: heads }, (_, head) => ({
    name: storedName(name, stored).replace(/weight$/, `norms.${head}.weight`),
    rows: { start: head, end: head + 1 },
    shape: vector,
  }));
}

/** The rows for queries, keys and values of linear attention. */
function linearParts(
  { name, shape }: WeightSpec,
  { layers }: ModelSpec,
  { stored }: Family,
): readonly TensorPart[] {
  const [, layer, module = ""] = /^model\.layers\.(\d+)\.(.+)\.weight$/.exec(name) ?? [];
  const parts = stored.linearParts?.[module];
  const mixer = layers[Number(layer)]?.mixer;
  if (parts === undefined || mixer?.type !== "delta") return [];
  const { keys, values } = linearChannels(mixer);
  const ends = [keys, 2 * keys, 2 * keys + values];
  return parts.map((part, index) => {
    const [start, end] = [ends[index - 1] ?? 0, ends[index]!];
    const stem = storedName(`model.layers.${layer}.${part}.weight`, stored);
    return { name: stem, rows: { start, end }, shape: shape.with(0, end - start) };
  });
}

/** A view of a checkpoint's tensors in which those in parts are whole, unless they are whole in the file as well. */
export function joinParts(source: TensorSource, spec: ModelSpec, family: Family): TensorSource {
  const wholes = [...partedTensors(spec, family)].flatMap(([name, parts]) => {
    const whole = source.info(name) === undefined ? joinedParts(source, parts) : null;
    return whole === null ? [] : [[name, whole] as const];
  });
  const joined = wholes.map(([name, whole]) => {
    return [name, { info: whole.info, read: (rows: RowRange) => readJoined(source, whole, rows) }] as const;
  });
  const parts = wholes.flatMap(([, { places }]) => places.map(({ name }) => name));
  return derivedSource(source, new Map(joined), new Set(parts));
}

/** A tensor whose parts are in a file. */
interface JoinedParts {
  readonly info: TensorInfo;
  readonly places: readonly Place[];
}

/** A part, and its rows of the whole; a vector is one row. */
interface Place {
  readonly name: string;
  readonly rows: RowRange;
  readonly isVector: boolean;
}

/**
 * Null where a part is missing, or parts have rows of different shapes. How many rows each has does not matter:
 * transformers cuts filters into equal parts when it saves them (`Chunk` of core_model_loading.py).
 */
function joinedParts(source: TensorSource, parts: readonly TensorPart[]): JoinedParts | null {
  const stored = parts.map(({ name }) => source.info(name));
  const [first] = stored;
  if (first === undefined) return null;
  const isVector = parts[0]!.shape.length === 1;
  const rowShape = isVector ? first.shape : first.shape.slice(1);
  const places: Place[] = [];
  let end = 0;
  for (const [index, info] of stored.entries()) {
    const count = isVector ? 1 : (info?.shape[0] ?? 0);
    const shape = isVector ? rowShape : [count, ...rowShape];
    if (info?.shape.join() !== shape.join()) return null;
    places.push({ name: parts[index]!.name, rows: { start: end, end: end + count }, isVector });
    end += count;
  }
  return { info: { dtype: first.dtype, shape: [end, ...rowShape] }, places };
}

async function readJoined(
  source: TensorSource,
  { info, places }: JoinedParts,
  rows: RowRange,
): Promise<Tensor> {
  const shape = info.shape.with(0, rows.end - rows.start);
  const data = new Float32Array(elementCount(shape));
  let offset = 0;
  for (const { name, rows: own, isVector } of places) {
    const start = Math.max(rows.start, own.start) - own.start;
    const end = Math.min(rows.end, own.end) - own.start;
    if (start >= end) continue;
    const part = isVector ? await source.read(name) : await source.read(name, { start, end });
    data.set(part.data, offset);
    offset += part.data.length;
  }
  return { shape, data };
}

/** Reads one part of a tensor. @param read - reads rows of the whole */
export async function readPart(
  { rows, shape }: TensorPart,
  read: (rows: RowRange) => Promise<Tensor>,
): Promise<Tensor> {
  const { data } = await read(rows);
  return { shape, data };
}
