/**
 * Checks whether products with blocks are fast and right on this processor. ONNX Runtime has different kernels for
 * every instruction set. Without one that multiplies 8-bit integers it converts all weights to float32 for every
 * product, which is slower than float32 weights are; and sums of 8-bit products could overflow in a kernel for older
 * processors. Results show both: the first rounds no activations, the second is wrong.
 */
import { getOrMakeAsync } from "../../base/map_values.ts";
import { type BlockLayout, type BlockTensor, blockCode, emptyBlocks } from "../../tensor/blocks.ts";
import { randomStream } from "../../tensor/random.ts";
import { GraphBuilder } from "../ir/graph_builder.ts";
import { blockProduct } from "../ir/operators.ts";
import { BlockProducts, blockWeight } from "./block_products.ts";
import type { Runtime } from "./runtime.ts";

const COLUMNS = 128;
const ROWS = 32;

/** Largest error of two rows, relative to the sum of magnitudes; one row of 8 bits is off by 1e-3 to 1e-4. */
const EXACT = 2e-5;

/** Largest differences from the float64 product, divided by the sum of the magnitudes of its terms. */
interface Errors {
  readonly twoRows: number;
  readonly oneRow: number;
}

const results = new WeakMap<Runtime, Promise<boolean>>();

/**
 * Whether products with weights of 4 and 8 bits, in blocks of 16, 32 and 64, are computed with integers, and right;
 * checked once per runtime.
 */
export function multipliesBlocks(runtime: Runtime): Promise<boolean> {
  return getOrMakeAsync(results, runtime, () => checkBlocks(runtime));
}

async function checkBlocks(runtime: Runtime): Promise<boolean> {
  for (const bits of [4, 8] as const) {
    for (const blockSize of [16, 32, 64] as const) {
      const { twoRows, oneRow } = await productErrors(runtime, { bits, blockSize, offsets: false, terms: 1 });
      if (!(twoRows < EXACT && oneRow > EXACT)) return false;
    }
  }
  return true;
}

async function productErrors(runtime: Runtime, layout: BlockLayout): Promise<Errors> {
  const random = randomStream(0, "blocks");
  const matrix = emptyBlocks([ROWS, COLUMNS], layout);
  matrix.codes.set(matrix.codes.map(() => 256 * random()));
  // The largest possible sums, of both signs.
  const width = matrix.codes.length / ROWS;
  matrix.codes.fill(255, 0, width).fill(0, width, 2 * width);
  matrix.scales.fill(1);
  const x = Float32Array.from({ length: COLUMNS }, () => 0.75 + random() / 4);
  const b = new GraphBuilder();
  const input = b.input("x", [1, "T", COLUMNS]);
  const weight = blockWeight(b, "w", { shape: matrix.shape, layout });
  b.output("twoRows", new BlockProducts(b).product(input, weight));
  b.output("oneRow", blockProduct(b, input, weight.matrix));
  const program = await runtime.filledProgram(b.finish(), async ({ name }) => {
    const values = name === "w.codes" ? matrix.codes : matrix.scales;
    return new Uint8Array(values.buffer);
  });
  const outputs = await program
    .run({ x: { shape: [1, 1, COLUMNS], data: x } })
    .finally(() => program.close());
  const exact = exactProduct(matrix, x);
  const largestError = (result: Float32Array): number =>
    exact.reduce((most, { sum, size }, row) => Math.max(most, Math.abs(result[row]! - sum) / size), 0);
  return { twoRows: largestError(outputs.twoRows!.data), oneRow: largestError(outputs.oneRow!.data) };
}

/** Products of x with every row of a matrix whose scales are 1, in float64, and the sums of their magnitudes. */
function exactProduct(
  matrix: BlockTensor,
  x: Float32Array,
): readonly { readonly sum: number; readonly size: number }[] {
  const zero = 2 ** (matrix.layout.bits - 1);
  return Array.from({ length: ROWS }, (_, row) => {
    let [sum, size] = [0, 0];
    for (let i = 0; i < COLUMNS; i++) {
      const term = (blockCode(matrix, row * COLUMNS + i) - zero) * x[i]!;
      sum += term;
      size += Math.abs(term);
    }
    return { sum, size };
  });
}
