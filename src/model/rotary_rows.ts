/**
 * The order of the channels that rotary embedding turns together: here channels i and i + R/2 of a head (halves), in
 * some files 2i and 2i + 1 (pairs), as llama.cpp wants them for Llama, and as the classes of GLM and ERNIE compute.
 * Reordering the rows of q_proj and k_proj changes one order into the other.
 */
import { sliceRows } from "../tensor/memory.ts";
import { elementCount, type RowRange, type Tensor, type TensorSource } from "../tensor/tensor.ts";
import { projectionName, qkNormName } from "./spaces.ts";
import type { LayerSpec, ModelSpec } from "./spec.ts";

/** Heads whose first `rotaryDim` channels, R, are stored in pairs. */
export interface PairedHeads {
  /** H. */
  readonly headDim: number;
  /** R; the other channels are in place. */
  readonly rotaryDim: number;
  /** The channels of a head are the columns of its row, as in norms with weights for each head; else rows. */
  readonly inRow: boolean;
}

/** The heads of a layer in a file with pairs. In layers that are not rotated, such files have pairs as well. */
function pairedHeads({ headDim }: Pick<ModelSpec, "headDim">, { rope }: LayerSpec): PairedHeads {
  return { headDim, rotaryDim: rope?.rotaryDim ?? headDim, inRow: false };
}

/**
 * Row of the file that holds row `row` in halves: row (s, i) of a head, s in 0..1, i in 0..R/2, stands at (i, s). The
 * same of elements, where the channels of a head are a row.
 */
export function pairedRow(row: number, { headDim, rotaryDim }: PairedHeads): number {
  const channel = row % headDim;
  if (channel >= rotaryDim) return row;
  const half = rotaryDim / 2;
  const [side, index] = channel < half ? [0, channel] : [1, channel - half];
  return row - channel + 2 * index + side;
}

/** Rows of q_proj or k_proj, weights or biases, in pairs. */
export function rowsInPairs({ shape, data }: Tensor, heads: PairedHeads): Tensor {
  const width = heads.inRow ? 1 : elementCount(shape.slice(1));
  const stored = new Float32Array(data.length);
  for (let row = 0; row * width < data.length; row++) {
    stored.set(data.subarray(row * width, (row + 1) * width), pairedRow(row, heads) * width);
  }
  return { shape, data: stored };
}

/** Reads rows of a tensor stored in pairs, in halves; whole heads are read. */
export async function readInHalves(
  source: TensorSource,
  tensor: string,
  { rows, heads }: { readonly rows: RowRange; readonly heads: PairedHeads },
): Promise<Tensor> {
  if (heads.inRow) {
    const { shape, data } = await source.read(tensor, rows);
    return { shape, data: data.map((_, index) => data[pairedRow(index, heads)]!) };
  }
  const { headDim } = heads;
  const firstRow = Math.floor(rows.start / headDim) * headDim;
  const count = source.info(tensor)?.shape[0] ?? 0;
  const lastRow = Math.min(count, Math.ceil(rows.end / headDim) * headDim);
  const stored = await source.read(tensor, { start: firstRow, end: lastRow });
  const width = stored.shape[1] ?? 1;
  const data = new Float32Array(stored.data.length);
  for (let row = 0; row < lastRow - firstRow; row++) {
    const from = pairedRow(row, heads) * width;
    data.set(stored.data.subarray(from, from + width), row * width);
  }
  const inHalves = { shape: stored.shape, data };
  return sliceRows(inHalves, { start: rows.start - firstRow, end: rows.end - firstRow }, tensor);
}

/**
 * Queries' and keys' weights, biases and norms with weights for each head of a model whose file has them in pairs, by
 * name, with their heads.
 */
export function pairedWeights(spec: ModelSpec): ReadonlyMap<string, PairedHeads> {
  return new Map(
    spec.layers.flatMap((layer, index) => {
      const heads = pairedHeads(spec, layer);
      const norms = spec.qkNorm === "each_head" ? (["q_norm", "k_norm"] as const) : [];
      return [
        ...(["q_proj", "k_proj"] as const).flatMap((projection) =>
          (["weight", "bias"] as const).map(
            (part) => [projectionName(index, projection, part), heads] as const,
          ),
        ),
        ...norms.map((norm) => [qkNormName(index, norm), { ...heads, inRow: true }] as const),
      ];
    }),
  );
}

/** A view of the tensors of a file with pairs, in halves. */
export function inHalves(source: TensorSource, spec: ModelSpec): TensorSource {
  const paired = pairedWeights(spec);
  return {
    names: source.names,
    info: (name) => source.info(name),
    read: async (name, rows) => {
      const heads = paired.get(name);
      const count = source.info(name)?.shape[0];
      if (heads === undefined || count === undefined) return source.read(name, rows);
      return readInHalves(source, name, { rows: rows ?? { start: 0, end: count }, heads });
    },
    close: () => source.close(),
  };
}
