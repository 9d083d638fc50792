/**
 * The order of the channels that rotary embedding turns together: here channels i and i + R/2 of a head (halves), in
 * some files 2i and 2i + 1 (pairs), as llama.cpp wants them for Llama, and as the classes of GLM and ERNIE compute. To
 * turn them the other way round, as nanochat does, is to turn swapped halves. Reordering the rows of q_proj and k_proj
 * changes one order into the other.
 */
import { derivedSource } from "../tensor/derived.ts";
import { sliceRows } from "../tensor/memory.ts";
import { elementCount, type RowRange, type Tensor, type TensorSource } from "../tensor/tensor.ts";
import type { RotatedOrder } from "./family_tensors.ts";
import { KEY_LATENT, type LatentSpec } from "./latent_spec.ts";
import type { ModelSpec } from "./spec.ts";
import { projectionName, qkNormName } from "./weight_names.ts";

/** Heads of which R channels, the first ones after `before` others, are stored in another order. */
export interface ReorderedHeads {
  /** Channels before those; none where absent. */
  readonly before?: number;
  readonly order: Exclude<RotatedOrder, "halves">;
  /** H. */
  readonly headDim: number;
  /** R; the other channels are in place. */
  readonly rotaryDim: number;
  /** The channels of a head are the columns of its row, as in norms with weights for each head; else rows. */
  readonly inRow: boolean;
}

/**
 * Row of the file that holds row `row` in halves: row (s, i) of a head, s in 0..1, i in 0..R/2, stands at (i, s) in
 * pairs, and at (1 - s, i) in swapped halves. The same of elements, where the channels of a head are a row.
 */
export function storedRow(row: number, { order, headDim, rotaryDim, before = 0 }: ReorderedHeads): number {
  const channel = (row % headDim) - before;
  if (channel < 0 || channel >= rotaryDim) return row;
  const half = rotaryDim / 2;
  const [side, index] = channel < half ? [0, channel] : [1, channel - half];
  return row - channel + (order === "pairs" ? 2 * index + side : (1 - side) * half + index);
}

/** Rows of q_proj or k_proj, weights or biases, in the order of the file. */
export function rowsAsStored({ shape, data }: Tensor, heads: ReorderedHeads): Tensor {
  const width = heads.inRow ? 1 : elementCount(shape.slice(1));
  const stored = new Float32Array(data.length);
  for (let row = 0; row * width < data.length; row++) {
    stored.set(data.subarray(row * width, (row + 1) * width), storedRow(row, heads) * width);
  }
  return { shape, data: stored };
}

/** Reads rows of a tensor stored in another order, in halves; whole heads are read. */
export async function readInHalves(
  source: TensorSource,
  tensor: string,
  { rows, heads }: { readonly rows: RowRange; readonly heads: ReorderedHeads },
): Promise<Tensor> {
  if (heads.inRow) {
    const { shape, data } = await source.read(tensor, rows);
    return { shape, data: data.map((_, index) => data[storedRow(index, heads)]!) };
  }
  const { headDim } = heads;
  const firstRow = Math.floor(rows.start / headDim) * headDim;
  const count = source.info(tensor)?.shape[0] ?? 0;
  const lastRow = Math.min(count, Math.ceil(rows.end / headDim) * headDim);
  const stored = await source.read(tensor, { start: firstRow, end: lastRow });
  const width = stored.shape[1] ?? 1;
  const data = new Float32Array(stored.data.length);
  for (let row = 0; row < lastRow - firstRow; row++) {
    const from = storedRow(row, heads) * width;
    data.set(stored.data.subarray(from, from + width), row * width);
  }
  const inHalves = { shape: stored.shape, data };
  return sliceRows(inHalves, { start: rows.start - firstRow, end: rows.end - firstRow }, tensor);
}

/**
 * Queries' and keys' weights, biases and norms with weights for each head of a model whose file has them in another
 * order, by name, with their heads; none for halves. Layers that are not rotated have the order of the others.
 */
export function reorderedWeights(spec: ModelSpec, order: RotatedOrder): ReadonlyMap<string, ReorderedHeads> {
  if (order === "halves") return new Map();
  const { headDim, latent } = spec;
  if (latent !== undefined) return reorderedLatents({ layers: spec.layers, headDim, latent }, order);
  return new Map(
    spec.layers.flatMap(({ rope }, index) => {
      const heads: ReorderedHeads = { order, headDim, rotaryDim: rope?.rotaryDim ?? headDim, inRow: false };
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

/** Of latents, the last channels of queries turn, and the last of what makes the latent of keys. */
function reorderedLatents(
  { layers, headDim, latent }: Pick<ModelSpec, "layers" | "headDim"> & { readonly latent: LatentSpec },
  order: ReorderedHeads["order"],
): ReadonlyMap<string, ReorderedHeads> {
  const { rank, rotated: rotaryDim } = latent;
  const headsOf = (before: number): ReorderedHeads => {
    return { order, headDim: before + rotaryDim, rotaryDim, before, inRow: false };
  };
  const matrices = [
    ["q_proj", headsOf(headDim - rotaryDim)],
    [KEY_LATENT.matrix, headsOf(rank)],
  ] as const;
  return new Map(
    layers.flatMap((_, index) =>
      matrices.flatMap(([matrix, heads]) =>
        (["weight", "bias"] as const).map((part) => [projectionName(index, matrix, part), heads] as const),
      ),
    ),
  );
}

/** A view of the tensors of a file, in halves. @param order - that of the file */
export function inHalves(source: TensorSource, spec: ModelSpec, order: RotatedOrder): TensorSource {
  const reordered = [...reorderedWeights(spec, order)].flatMap(([name, heads]) => {
    const info = source.info(name);
    if (info === undefined) return [];
    const read = (rows: RowRange): Promise<Tensor> => readInHalves(source, name, { rows, heads });
    return [[name, { info, read }] as const];
  });
  return derivedSource(source, new Map(reordered));
}
