/**
 * Weights of a model as views of the tensors of a GGUF file: under their checkpoint names, split from fused tensors,
 * with rows in the checkpoint's order and norms without their offset. Reads only the rows that are asked for.
 */
import { GpruneError } from "../../errors.ts";
import { type BlockSource, gatherBlockRows } from "../../tensor/blocks.ts";
import { checkRows, memorySource, unknownTensor } from "../../tensor/memory.ts";
import {
  elementCount,
  type RowRange,
  type Tensor,
  type TensorInfo,
  type TensorSource,
} from "../../tensor/tensor.ts";
import { type ReorderedHeads, readInHalves, storedRow } from "../rotary_rows.ts";
import type { StackedExperts } from "../stacked_experts.ts";
import { type JoinedRows, joinedRow, readJoined } from "./joined_rows.ts";
import type { StoredValues } from "./places.ts";
import { readUnstacked, unstackedShape } from "./stacked_experts.ts";
import { areWholeBlocks, blocksInGroups, readInGroups, type TiledHeads } from "./value_heads.ts";

/** Where and how a weight is stored. */
export interface StoredWeight {
  /** Name in the file. */
  readonly tensor: string;
  /** Its rows in that tensor. */
  readonly rows: RowRange;
  /** The heads whose rows are in pairs; null where they are in place. */
  readonly paired: ReorderedHeads | null;
  /** The value heads that are in tiles; null where they are in place. */
  readonly tiled: TiledHeads | null;
  /** Its rows where they take turns with those of another weight; null where they do not. */
  readonly joined: JoinedRows | null;
  /** The experts whose columns are matrices that follow one another; null where they are in place. */
  readonly experts: StackedExperts | null;
  /** The shape of a row of the weight; the file's own where it has another number of elements. */
  readonly rowShape: readonly number[];
  /** How elements are stored; null where they are as they are. */
  readonly values: StoredValues | null;
  /** Its elements are those of the file's tensor in order, whatever the shape of that. */
  readonly flat: boolean;
}

/** Where a model's weights are in a file, by name: in its tensors, and in its metadata. */
export interface WeightPlaces {
  /** All of them, in the model's order. */
  readonly names: readonly string[];
  readonly stored: ReadonlyMap<string, StoredWeight>;
  readonly fromMetadata: ReadonlyMap<string, Tensor>;
}

/** A source of the weights of a file with these tensors. */
export function storedWeights(
  source: TensorSource,
  { names, stored, fromMetadata }: WeightPlaces,
): TensorSource {
  const others = memorySource(fromMetadata);
  return {
    ...(source.blocks && { blocks: storedBlocks(source.blocks, stored) }),
    names,
    info(name): TensorInfo | undefined {
      const weight = stored.get(name);
      if (weight === undefined) return others.info(name);
      const info = source.info(weight.tensor);
      if (info === undefined) return undefined;
      const inFile = weight.experts === null ? info.shape : unstackedShape(info.shape, weight.experts);
      return { ...info, shape: shapeOf(weight, inFile, weight.rows) };
    },
    async read(name, rows): Promise<Tensor> {
      const weight = stored.get(name);
      if (weight === undefined) return others.read(name, rows);
      const count = weight.rows.end - weight.rows.start;
      if (rows !== undefined) checkRows(rows, [count], name);
      return readWeight(source, weight, rows ?? { start: 0, end: count });
    },
    close: () => source.close(),
  };
}

/** The weights that the file has in blocks. */
function storedBlocks(source: BlockSource, stored: ReadonlyMap<string, StoredWeight>): BlockSource {
  return {
    layout: (name) => {
      const weight = stored.get(name);
      if (weight === undefined || weight.values !== null || weight.flat) return undefined;
      const layout = source.layout(weight.tensor);
      const isWhole = weight.tiled === null || (layout && areWholeBlocks(weight.tiled, layout));
      return weight.paired?.inRow || !isWhole ? undefined : layout;
    },
    read: async (name) => {
      const weight = stored.get(name);
      if (weight === undefined) throw unknownTensor(name);
      const { tensor, rows, paired, tiled, joined, experts } = weight;
      const whole = await source.read(tensor);
      const count = rows.end - rows.start;
      if (paired !== null) return gatherBlockRows(whole, count, (row) => storedRow(row, paired));
      if (tiled !== null) return blocksInGroups(whole, tiled);
      if (joined !== null) return gatherBlockRows(whole, count, (row) => joinedRow(row, joined));
      if (experts !== null || count === whole.shape[0]) return whole;
      return gatherBlockRows(whole, count, (row) => rows.start + row);
    },
  };
}

async function readWeight(source: TensorSource, weight: StoredWeight, rows: RowRange): Promise<Tensor> {
  const stored = await readInOrder(source, weight, rows);
  const shape = shapeOf(weight, stored.shape, rows);
  return {
    shape,
    data: weight.values === null ? stored.data : valuesOf(stored, weight.values, weight.tensor),
  };
}

async function readInOrder(
  source: TensorSource,
  { tensor, paired, tiled, joined, experts, flat, rowShape, rows: { start: first, end } }: StoredWeight,
  rows: RowRange,
): Promise<Tensor> {
  if (flat) {
    const { data } = await source.read(tensor);
    const width = elementCount(rowShape);
    const shape = [rows.end - rows.start, ...rowShape];
    return { shape, data: data.slice(rows.start * width, rows.end * width) };
  }
  if (paired !== null) return readInHalves(source, tensor, { rows, heads: paired });
  if (tiled !== null) return readInGroups(source, tensor, { rows, heads: tiled });
  if (joined !== null) return readJoined(source, tensor, { rows, joined });
  if (experts !== null) return readUnstacked(source, tensor, { rows, count: end, experts });
  return source.read(tensor, { start: first + rows.start, end: first + rows.end });
}

/** @throws GpruneError BAD_FILE for a value that none is stored as */
function valuesOf({ data }: Tensor, { fromFile }: StoredValues, tensor: string): Float32Array {
  const values = data.map(fromFile);
  const bad = values.findIndex((value, index) => Number.isNaN(value) && !Number.isNaN(data[index]));
  if (bad < 0) return values;
  throw new GpruneError("BAD_FILE", `${tensor}: expected negative numbers, got ${data[bad]}`);
}

/** The shape of some rows of a weight, whose tensor in the file may lack axes of size 1. */
function shapeOf(
  { rowShape, flat }: StoredWeight,
  inFile: readonly number[],
  rows: RowRange,
): readonly number[] {
  if (flat) return [rows.end - rows.start, ...rowShape];
  const own = inFile.slice(1);
  const isSame = elementCount(own) === elementCount(rowShape);
  return [rows.end - rows.start, ...(isSame ? rowShape : own)];
}
