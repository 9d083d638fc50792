/**
 * Weights of a model as views of the tensors of a GGUF file: under their checkpoint names, split from fused tensors,
 * with rows in the checkpoint's order and norms without their offset. Reads only the rows that are asked for.
 */
import { type BlockSource, gatherBlockRows } from "../../tensor/blocks.ts";
import { checkRows, sliceRows, unknownTensor } from "../../tensor/memory.ts";
import type { RowRange, Tensor, TensorInfo, TensorSource } from "../../tensor/tensor.ts";
import { storedRow } from "./rotary.ts";

/** Where and how a weight is stored. */
export interface StoredWeight {
  /** Name in the file. */
  readonly tensor: string;
  /** Its rows in that tensor. */
  readonly rows: RowRange;
  /** H when llama.cpp interleaved the rows of each head, else null. */
  readonly permutedHeadDim: number | null;
  /** Added to every element. */
  readonly addend: number;
}

/** A source of the weights in `stored`, read from the file's tensors. */
export function storedWeights(source: TensorSource, stored: ReadonlyMap<string, StoredWeight>): TensorSource {
  return {
    ...(source.blocks && { blocks: storedBlocks(source.blocks, stored) }),
    names: [...stored.keys()],
    info(name): TensorInfo | undefined {
      const weight = stored.get(name);
      const info = weight && source.info(weight.tensor);
      return weight && info && { ...info, shape: info.shape.with(0, weight.rows.end - weight.rows.start) };
    },
    async read(name, rows): Promise<Tensor> {
      const weight = stored.get(name);
      if (weight === undefined) throw unknownTensor(name);
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
      return weight?.addend === 0 ? source.layout(weight.tensor) : undefined;
    },
    read: async (name) => {
      const weight = stored.get(name);
      if (weight === undefined) throw unknownTensor(name);
      const { tensor, rows, permutedHeadDim } = weight;
      const whole = await source.read(tensor);
      const count = rows.end - rows.start;
      if (permutedHeadDim !== null)
        return gatherBlockRows(whole, count, (row) => storedRow(row, permutedHeadDim));
      if (count === whole.shape[0]) return whole;
      return gatherBlockRows(whole, count, (row) => rows.start + row);
    },
  };
}

async function readWeight(source: TensorSource, weight: StoredWeight, rows: RowRange): Promise<Tensor> {
  const { tensor, permutedHeadDim, addend } = weight;
  const first = weight.rows.start;
  if (permutedHeadDim !== null) return readPermuted(source, tensor, { rows, headDim: permutedHeadDim });
  const stored = await source.read(tensor, { start: first + rows.start, end: first + rows.end });
  if (addend === 0) return stored;
  return { shape: stored.shape, data: stored.data.map((value) => value + addend) };
}

/** Rows back in the checkpoint's order; whole heads are read. */
async function readPermuted(
  source: TensorSource,
  tensor: string,
  { rows, headDim }: { readonly rows: RowRange; readonly headDim: number },
): Promise<Tensor> {
  const firstRow = Math.floor(rows.start / headDim) * headDim;
  const count = source.info(tensor)?.shape[0] ?? 0;
  const lastRow = Math.min(count, Math.ceil(rows.end / headDim) * headDim);
  const stored = await source.read(tensor, { start: firstRow, end: lastRow });
  const width = stored.shape[1] ?? 1;
  const data = new Float32Array(stored.data.length);
  for (let row = 0; row < lastRow - firstRow; row++) {
    const from = storedRow(row, headDim) * width;
    data.set(stored.data.subarray(from, from + width), row * width);
  }
  const heads = { shape: stored.shape, data };
  return sliceRows(heads, { start: rows.start - firstRow, end: rows.end - firstRow }, tensor);
}
