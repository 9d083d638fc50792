/**
 * The order of a delta rule's value heads: here those that a key head serves follow one another (groups); in GGUF
 * files the first ones of all key heads come first, then the second ones of all (tiles), so that llama.cpp can repeat
 * all keys as a whole (`_LinearAttentionVReorderBase` of conversion/qwen.py).
 */
import { type BlockLayout, type BlockTensor, blocksOfRow, gatherBlockRows } from "../../tensor/blocks.ts";
import { elementCount, type RowRange, type Tensor, type TensorSource } from "../../tensor/tensor.ts";
import { linearChannels } from "../mixer_spec.ts";
import { LINEAR_MODULES } from "../mixer_weights.ts";
import type { ModelSpec } from "../spec.ts";

/** Value heads that are stored in tiles. */
export interface TiledHeads {
  readonly keyHeads: number;
  readonly valueHeads: number;
  /** Rows or columns of a head. */
  readonly size: number;
  /** Rows before those of the value heads, which are in place. */
  readonly first: number;
  /** Heads are columns, as in the projection of outputs; else rows. */
  readonly inRow: boolean;
}

/** Row of the file that holds row `row`, or the same of columns. */
function tiledRow(row: number, heads: TiledHeads): number {
  const { first, size } = heads;
  if (row < first) return row;
  const head = Math.floor((row - first) / size);
  return row + (tiledHead(head, heads) - head) * size;
}

/** Value head v of key head k, of v in 0..r - 1, is head k r + v in groups, and head v K + k in tiles. */
function tiledHead(head: number, { keyHeads, valueHeads }: TiledHeads): number {
  const each = valueHeads / keyHeads;
  return (head % each) * keyHeads + Math.floor(head / each);
}

/** Whether value heads are whole blocks of a matrix in blocks, or rows of it. */
export function areWholeBlocks({ inRow, size }: TiledHeads, { blockSize }: BlockLayout): boolean {
  return !inRow || size % blockSize === 0;
}

/** A matrix in blocks whose value heads are stored in tiles, in groups. */
export function blocksInGroups(stored: BlockTensor, heads: TiledHeads): BlockTensor {
  const { shape, layout } = stored;
  if (!heads.inRow) return gatherBlockRows(stored, shape[0], (row) => tiledRow(row, heads));
  const inRow = blocksOfRow(shape[1], layout);
  const blocks = { ...stored, shape: [shape[0] * inRow, layout.blockSize] as const };
  const headsOfBlocks = { ...heads, size: heads.size / layout.blockSize };
  const gathered = gatherBlockRows(blocks, blocks.shape[0], (block) => {
    const column = block % inRow;
    return block - column + tiledRow(column, headsOfBlocks);
  });
  return { ...gathered, shape };
}

/** A weight with its value heads in tiles. */
export function headsAsStored(tensor: Tensor, heads: TiledHeads): Tensor {
  return withHeads(tensor, heads, (head) => [head, tiledHead(head, heads)]);
}

/** Reads rows of a weight whose value heads are stored in tiles, in groups. */
export async function readInGroups(
  source: TensorSource,
  tensor: string,
  { rows, heads }: { readonly rows: RowRange; readonly heads: TiledHeads },
): Promise<Tensor> {
  if (heads.inRow) {
    return withHeads(await source.read(tensor, rows), heads, (head) => [tiledHead(head, heads), head]);
  }
  const shape = (source.info(tensor)?.shape ?? []).with(0, rows.end - rows.start);
  const width = elementCount(shape.slice(1));
  const data = new Float32Array(elementCount(shape));
  for (const { start, end } of runsOf(rows, heads)) {
    const from = tiledRow(start, heads);
    const run = await source.read(tensor, { start: from, end: from + end - start });
    data.set(run.data, (start - rows.start) * width);
  }
  return { shape, data };
}

/** The parts of some rows that follow one another in the file: those before the heads, and those of each head. */
function runsOf({ start, end }: RowRange, { first, size }: TiledHeads): readonly RowRange[] {
  const runs: RowRange[] = [];
  for (let row = start; row < end; ) {
    const next = row < first ? first : first + (Math.floor((row - first) / size) + 1) * size;
    runs.push({ start: row, end: Math.min(next, end) });
    row = next;
  }
  return runs;
}

/**
 * The tensor with all heads in the places of others.
 * @param moved - a head and the one whose place it takes, by number
 */
function withHeads(
  { shape, data }: Tensor,
  { valueHeads, size, first, inRow }: TiledHeads,
  moved: (head: number) => readonly [number, number],
): Tensor {
  const [lines, width] = inRow ? [shape[0]!, 1] : [1, elementCount(shape.slice(1))];
  const result = Float32Array.from(data);
  for (let line = 0; line < lines; line++) {
    const offset = line * (data.length / lines) + first * width;
    for (let index = 0; index < valueHeads; index++) {
      const [from, to] = moved(index).map((head) => offset + head * size * width) as [number, number];
      result.set(data.subarray(from, from + size * width), to);
    }
  }
  return { shape, data: result };
}

/** The weights whose value heads are in tiles, by name; none where a key head, or a value head, is alone. */
export function tiledWeights({ layers }: Pick<ModelSpec, "layers">): ReadonlyMap<string, TiledHeads> {
  const entries = layers.flatMap(({ mixer }, index) => {
    if (mixer?.type !== "delta" || mixer.keyHeads === 1 || mixer.keyHeads === mixer.valueHeads) return [];
    const { keyHeads, valueHeads, valueDim } = mixer;
    const channels = { keyHeads, valueHeads, size: valueDim, first: 0, inRow: false };
    const filtered = { ...channels, first: 2 * linearChannels(mixer).keys };
    const single = { ...channels, size: 1 };
    const parts: readonly (readonly [string, TiledHeads])[] = [
      ["in_proj_qkv.weight", filtered],
      ["in_proj_z.weight", channels],
      ["in_proj_b.weight", single],
      ["in_proj_a.weight", single],
      ["conv1d.weight", filtered],
      ["dt_bias", single],
      ["A_log", single],
      ["out_proj.weight", { ...channels, inRow: true }],
    ];
    return parts.map(
      ([part, heads]) => [`model.layers.${index}.${LINEAR_MODULES.delta}.${part}`, heads] as const,
    );
  });
  return new Map(entries);
}
