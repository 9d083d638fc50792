/**
 * Matrices of experts that a checkpoint stores in MXFP4, 32 numbers of four bits with a power of two as their scale
 * (OCP Microscaling Formats 1.0), as what they stand for: so does transformers (`convert_moe_packed_tensors` of
 * integrations/mxfp4.py). Blocks are `NAME_blocks`, [E, rows, columns / 32, 16], two numbers in a byte, the first in
 * its lower half; scales `NAME_scales`, [E, rows, columns / 32], exponents plus 127. The rows may be those of several
 * projections in turn.
 */
import { GpruneError } from "../../errors.ts";
import { MXFP4_VALUES, mxfp4Scale } from "../../io/formats/ggml_types.ts";
import { type DerivedTensor, derivedSource } from "../../tensor/derived.ts";
import {
  type RowRange,
  shapeText,
  type Tensor,
  type TensorInfo,
  type TensorSource,
} from "../../tensor/tensor.ts";

/** The end of the names of tensors in blocks. */
export const BLOCKS = "_blocks";

/** What a tensor's stored numbers are called. */
const DTYPE = "MXFP4";

const BLOCK_SIZE = 32;
const BLOCK_BYTES = BLOCK_SIZE / 2;

/** A tensor in blocks. */
export interface BlockTensor {
  readonly name: string;
  /** The number of projections that its rows are of, in turn. */
  readonly parts: number;
}

/** The name of the rows of a projection in a view of its tensor in blocks. */
export function partName(name: string, part: number): string {
  return `${name}[${part}]`;
}

/** A view of a checkpoint's tensors with those in MXFP4 as numbers, and whether there are any. */
export interface UnpackedTensors {
  readonly tensors: TensorSource;
  readonly hasBlocks: boolean;
}

/**
 * A view of the tensors in which blocks have the values that they stand for, a tensor [E, rows, columns] for each part
 * (`partName`), and no scales.
 * @param blocks - the tensors in blocks, where they are some
 * @throws GpruneError BAD_TENSOR for blocks or scales of another shape or type
 */
export function withUnpackedBlocks(
  source: TensorSource,
  { blocks, where }: { readonly blocks: readonly BlockTensor[]; readonly where: string },
): UnpackedTensors {
  const parts = new Map<string, DerivedTensor>();
  const hidden = new Set<string>();
  for (const { name, parts: step } of blocks) {
    if (source.info(name) === undefined) continue;
    const { dtype, shape } = infoOf(source, name, where);
    const info = { dtype, shape: shape.with(1, shape[1]! / step) };
    for (let first = 0; first < step; first++) {
      const read = async (experts: RowRange): Promise<Tensor> => {
        const bytes = await source.read(name, experts);
        const exponents = await source.read(scalesOf(name), experts);
        return {
          shape: info.shape.with(0, bytes.shape[0]!),
          data: unpacked(bytes, exponents, { first, step }),
        };
      };
      parts.set(partName(name, first), { info, read });
    }
    hidden.add(name).add(scalesOf(name));
  }
  return { hasBlocks: parts.size > 0, tensors: derivedSource(source, parts, hidden) };
}

function scalesOf(name: string): string {
  return `${name.slice(0, -BLOCKS.length)}_scales`;
}

/** @throws GpruneError BAD_TENSOR unless blocks and scales fit */
function infoOf(source: TensorSource, name: string, where: string): TensorInfo {
  const { dtype, shape } = source.info(name)!;
  const fail = (expected: string, got: string): GpruneError =>
    new GpruneError("BAD_TENSOR", `${where}: ${name}: expected ${expected}, got ${got}`, {
      hint: "config.json and the weights must come from the same model.",
    });
  const [experts = 0, rows = 0, groups = 0, bytes] = shape;
  if (dtype !== "U8" || shape.length !== 4 || bytes !== BLOCK_BYTES)
    throw fail(`blocks of ${BLOCK_BYTES} bytes in U8`, `${dtype} of shape ${shapeText(shape)}`);
  const scales = source.info(scalesOf(name));
  const expected = [experts, rows, groups];
  if (scales?.dtype !== "U8" || scales.shape.join() !== expected.join()) {
    const got = scales === undefined ? "none" : `${scales.dtype} of shape ${shapeText(scales.shape)}`;
    throw fail(`scales in U8 of shape ${shapeText(expected)}`, got);
  }
  return { dtype: DTYPE, shape: [experts, rows, groups * BLOCK_SIZE] };
}

/** The two numbers of each byte. */
const [FIRST, SECOND] = [0, 4].map((shift) =>
  Float32Array.from({ length: 256 }, (_, pair) => MXFP4_VALUES[(pair >> shift) & 15]!),
) as [Float32Array, Float32Array];

/** Every n-th row from the first on, through the matrices of all experts. */
function unpacked(
  { data: bytes }: Tensor,
  { data: exponents, shape: [, , groups = 0] }: Tensor,
  { first, step }: { readonly first: number; readonly step: number },
): Float32Array {
  const values = new Float32Array((2 * bytes.length) / step);
  let to = 0;
  for (let start = first * groups; start < exponents.length; start += step * groups) {
    for (let block = start; block < start + groups; block++) {
      const scale = mxfp4Scale(exponents[block]!);
      const end = (block + 1) * BLOCK_BYTES;
      for (let at = block * BLOCK_BYTES; at < end; at++) {
        const pair = bytes[at]! | 0;
        values[to++] = FIRST[pair]! * scale;
        values[to++] = SECOND[pair]! * scale;
      }
    }
  }
  return values;
}
