/**
 * Weights of a model as views of the tensors of a GGUF file: under their checkpoint names, split from fused tensors,
 * with rows in the checkpoint's order and norms without their offset. Reads only the rows that are asked for.
 */
import { type BlockSource, gatherBlockRows } from "../../tensor/blocks.ts";
import { checkRows, memorySource, unknownTensor } from "../../tensor/memory.ts";
import type { RowRange, Tensor, TensorInfo, TensorSource } from "../../tensor/tensor.ts";
import { type ReorderedHeads, readInHalves, storedRow } from "../rotary_rows.ts";

/** Where and how a weight is stored. */
export interface StoredWeight {
  /** Name in the file. */
  readonly tensor: string;
  /** Its rows in that tensor. */
  readonly rows: RowRange;
  /** The heads whose rows are in pairs; null where they are in place. */
  readonly paired: ReorderedHeads | null;
  /** Added to every element. */
  readonly addend: number;
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
      return info && { ...info, shape: info.shape.with(0, weight.rows.end - weight.rows.start) };
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
      return weight?.addend === 0 && !weight.paired?.inRow ? source.layout(weight.tensor) : undefined;
    },
    read: async (name) => {
      const weight = stored.get(name);
      if (weight === undefined) throw unknownTensor(name);
      const { tensor, rows, paired } = weight;
      const whole = await source.read(tensor);
      const count = rows.end - rows.start;
      if (paired !== null) return gatherBlockRows(whole, count, (row) => storedRow(row, paired));
      if (count === whole.shape[0]) return whole;
      return gatherBlockRows(whole, count, (row) => rows.start + row);
    },
  };
}

async function readWeight(source: TensorSource, weight: StoredWeight, rows: RowRange): Promise<Tensor> {
  const { tensor, paired, addend } = weight;
  const first = weight.rows.start;
  if (paired !== null) return readInHalves(source, tensor, { rows, heads: paired });
  const stored = await source.read(tensor, { start: first + rows.start, end: first + rows.end });
  if (addend === 0) return stored;
  return { shape: stored.shape, data: stored.data.map((value) => value + addend) };
}
