/** Storage formats of matrices in an ONNX file, floats or quantised blocks, and the operators that multiply by them. */
import type { Value } from "../graph/ir/graph.ts";
import type { GraphBuilder } from "../graph/ir/graph_builder.ts";
import { type BlockMatrix, blockProduct, gatherRows } from "../graph/ir/operators.ts";
import type { StackedExperts } from "../model/stacked_experts.ts";
import { encode, type FloatDType } from "../tensor/dtype.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { transposed } from "../tensor/transposed.ts";
import { BLOCK_SIZE, BYTE_ZERO, blockCodes, blocksOf } from "./block_codes.ts";
import { requireFinite } from "./finite.ts";

/** A weight of the checkpoint and the initializers that store it. */
export interface StoredWeight {
  /** Name of the weight in the checkpoint. */
  readonly source: string;
  /** That of the weight, or of the matrix of one of its experts. */
  readonly shape: readonly number[];
  /** The expert whose matrix it is; absent where it is the whole weight. */
  readonly expert?: { readonly index: number; readonly experts: StackedExperts };
  /** In the order of the ONNX file. */
  readonly initializers: readonly Value[];
  /** Whether each row has bytes of its own in every initializer, so that few rows can be encoded at a time. */
  readonly byRows: boolean;
  /** The bytes of each initializer, or of some rows of each. @throws GpruneError NOT_FINITE */
  readonly encode: (tensor: Tensor) => readonly Uint8Array[];
}

/** A matrix [N, I] of the ONNX file. */
export interface Matrix {
  readonly stored: StoredWeight;
  /** x [.., I] times the transposed matrix: [.., N]. */
  product(x: Value): Value;
  /** Rows by index, float32: indices [..] give [.., I]. */
  rows(indices: Value): Value;
}

/** Adds the checkpoint's matrix `name` of shape [N, I] to a graph. */
export type MatrixFormat = (b: GraphBuilder, name: string, shape: readonly [number, number]) => Matrix;

type FloatType = "float32" | "float16";

const STORED: Readonly<Record<FloatType, FloatDType>> = { float32: "F32", float16: "F16" };

/** Adds a norm's weight, a bias or a number of an activation to a graph, unquantised in float32. */
export function plainTensor(
  b: GraphBuilder,
  name: string,
  shape: readonly number[],
): { readonly value: Value; readonly stored: StoredWeight } {
  const value = b.initializer(name, shape, "float32");
  const encodeFloats = (tensor: Tensor): readonly Uint8Array[] => [floatBytes(name, tensor, "float32")];
  const stored = { source: name, shape, initializers: [value], byRows: false, encode: encodeFloats };
  return { value, stored };
}

/** Floats in the checkpoint's layout [N, I], for matrices whose rows are gathered. */
export function floatRows(type: FloatType): MatrixFormat {
  return (b, name, shape) => {
    const value = b.initializer(name, shape, type);
    return {
      stored: {
        source: name,
        shape,
        initializers: [value],
        byRows: true,
        encode: (tensor) => [floatBytes(name, tensor, type)],
      },
      product: (x) => b.matmul(b.cast(x, type), value, { transB: true }),
      rows: (indices) => b.cast(gatherRows(b, value, indices), "float32"),
    };
  };
}

/**
 * Floats transposed to [I, N], the layout that MatMul reads without a copy.
 * @param headroom - a power of 2 against overflow: x is divided by it, the product, cast to float32, multiplied by it
 */
export function floatColumns(type: FloatType, headroom = 1): MatrixFormat {
  return (b, name, [rows, columns]) => {
    const value = b.initializer(name, [columns, rows], type);
    return {
      stored: {
        source: name,
        shape: [rows, columns],
        initializers: [value],
        byRows: false,
        encode: (tensor) => [floatBytes(name, transposed(tensor), type)],
      },
      product: (x) => {
        if (headroom === 1) return b.matmul(b.cast(x, type), value);
        const small = b.mul(b.cast(x, "float32"), b.scalar(1 / headroom));
        return b.mul(b.cast(b.matmul(b.cast(small, type), value), "float32"), b.scalar(headroom));
      },
      rows: (indices) => b.cast(gatherRows(b, b.transpose(value, [1, 0]), indices), "float32"),
    };
  };
}

/** Blocks of `BLOCK_SIZE` codes. MatMulNBits computes products, standard operators decode rows (8-bit codes only). */
export function blocks(bits: 4 | 8): MatrixFormat {
  return (b, name, [rows, columns]) => {
    const count = blocksOf(columns);
    const codes = b.initializer(`${name}.codes`, [rows, count, (BLOCK_SIZE * bits) / 8], "uint8");
    const scales = b.initializer(`${name}.scales`, [rows, count], "float32");
    const zeros = bits === 8 ? null : b.initializer(`${name}.zeros`, [rows, Math.ceil(count / 2)], "uint8");
    const matrix: BlockMatrix = { bits, blockSize: BLOCK_SIZE, columns, codes, scales, zeros };
    return {
      stored: {
        source: name,
        shape: [rows, columns],
        initializers: [codes, scales, ...(zeros === null ? [] : [zeros])],
        byRows: true,
        encode: (tensor) => {
          const quantised = blockCodes(requireFinite(name, tensor, "F32"), bits);
          const scaleBytes = encode("F32", quantised.scales);
          return [quantised.codes, scaleBytes, ...(quantised.zeros === null ? [] : [quantised.zeros])];
        },
      },
      product: (x) => blockProduct(b, x, matrix),
      rows: (indices) => decodedRows(b, matrix, indices),
    };
  };
}

/** The rows `ids` of a matrix with 8-bit codes, decoded: (code - 128) * scale. */
function decodedRows(b: GraphBuilder, { codes, scales, columns, blockSize }: BlockMatrix, ids: Value): Value {
  const steps = b.sub(b.cast(gatherRows(b, codes, ids), "float32"), b.scalar(BYTE_ZERO));
  const factors = gatherRows(b, scales, ids);
  const values = b.mul(steps, b.reshape(factors, [...factors.shape, 1]));
  const padded = blocksOf(columns) * blockSize;
  const rows = b.reshape(values, [...ids.shape, padded]);
  return padded === columns ? rows : b.slice(rows, ids.shape.length, { start: 0, end: columns });
}

function floatBytes(name: string, tensor: Tensor, type: FloatType): Uint8Array {
  return encode(STORED[type], requireFinite(name, tensor, STORED[type]).data);
}
