/** Reads the rows of tables of embeddings that tokens need, which are few of many. */
import { getOrMake } from "../../base/map_values.ts";
import { GpruneError } from "../../errors.ts";
import type { TensorSource } from "../../tensor/tensor.ts";

/** Largest numbers of rows of a table, and of their elements, that are read at once. */
const [BLOCK_ROWS, BLOCK_ELEMENTS] = [1024, 2 ** 19];

/** A table of embeddings. */
export interface EmbeddingTable {
  /** Its name in the checkpoint. */
  readonly name: string;
  readonly rows: number;
  /** Numbers of a row. */
  readonly size: number;
}

/**
 * The rows of tokens, [ids.length, size].
 * @throws GpruneError BAD_TEXT for an id without a row, NOT_FINITE for a row that is not finite
 */
export async function embeddingRows(
  weights: TensorSource,
  { name, rows: count, size }: EmbeddingTable,
  ids: Int32Array,
): Promise<Float32Array<ArrayBuffer>> {
  const data = new Float32Array(ids.length * size);
  const blockRows = Math.max(1, Math.min(BLOCK_ROWS, Math.floor(BLOCK_ELEMENTS / size)));
  requireKnownTokens(ids, count);
  for (const places of placesByBlock(ids, blockRows)) {
    const { start, end } = rangeOf(ids, places);
    const rows = await weights.read(name, { start, end });
    for (const place of places) {
      const row = (ids[place]! - start) * size;
      data.set(rows.data.subarray(row, row + size), place * size);
    }
  }
  requireFiniteRows(data, { name, size, rowOf: (place) => ids[place]! });
  return data;
}

/**
 * @param where - name of the text, for messages
 * @throws GpruneError BAD_TEXT for a token that the model has no embedding for
 */
export function requireKnownTokens(ids: Int32Array, vocabSize: number, where?: string): void {
  const place = ids.findIndex((id) => !(id >= 0 && id < vocabSize));
  if (place < 0) return;
  const token = `${where === undefined ? "" : `${where}, `}token ${place}`;
  throw new GpruneError("BAD_TEXT", `${token}: expected an id below ${vocabSize}, got ${ids[place]}`, {
    hint: "The embedding has no row for this token: the tokenizer may be another model's, or the text contains a special token that the model lacks.",
  });
}

/** Indices into `ids`, grouped by the block of rows that holds the token, in ascending order of blocks. */
function placesByBlock(ids: Int32Array, blockRows: number): readonly (readonly number[])[] {
  const places = new Map<number, number[]>();
  for (const [place, id] of ids.entries()) {
    const block = Math.floor(id / blockRows);
    getOrMake(places, block, () => []).push(place);
  }
  return [...places].sort(([a], [b]) => a - b).map(([, list]) => list);
}

/** The smallest range of rows with those of the tokens at `places`. */
function rangeOf(
  ids: Int32Array,
  places: readonly number[],
): { readonly start: number; readonly end: number } {
  let start = ids[places[0]!]!;
  let end = start + 1;
  for (const place of places) {
    start = Math.min(start, ids[place]!);
    end = Math.max(end, ids[place]! + 1);
  }
  return { start, end };
}

/** @throws GpruneError NOT_FINITE naming the table of embeddings and its row that is not finite */
export function requireFiniteRows(
  data: Float32Array,
  { name, size, rowOf }: { readonly name: string; readonly size: number; rowOf(place: number): number },
): void {
  const bad = data.findIndex((value) => !Number.isFinite(value));
  if (bad < 0) return;
  const place = `row ${rowOf(Math.floor(bad / size))}, column ${bad % size}`;
  throw new GpruneError("NOT_FINITE", `${name}: expected finite weights, got ${data[bad]} at ${place}`, {
    hint: "The checkpoint is damaged; copy or download it again.",
  });
}
