import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { maxDifference } from "../../../test/numbers.ts";
import { asBlocks, BLOCK_TYPES, blockWeightAt, randomBlocks } from "../../../test/stored_blocks.ts";
import type { BlockTensor } from "../../tensor/blocks.ts";
import { randomStream } from "../../tensor/random.ts";
import { GraphBuilder } from "../ir/graph_builder.ts";
import { multipliesBlocks } from "./block_check.ts";
import { BLOCK_PARTS, BlockProducts, blockWeight } from "./block_products.ts";
import { Runtime } from "./runtime.ts";

const runtime = new Runtime({ threads: 1 });
const fast = await multipliesBlocks(runtime);
const more = new Runtime({ threads: 2 });
beforeAll(() => undefined);
afterAll(async () => {
  await runtime.close();
  await more.close();
});

const [ROWS, COLUMNS] = [48, 512];

/** x [1, T, I] times the transposed matrix. */
async function product(x: Float32Array, matrix: BlockTensor, on: Runtime): Promise<Float32Array> {
  const b = new GraphBuilder();
  const weight = blockWeight(b, "w", matrix);
  b.output("y", new BlockProducts(b).product(b.input("x", [1, "T", COLUMNS]), weight));
  const program = await on.filledProgram(b.finish(), async ({ name }) => {
    const values = matrix[BLOCK_PARTS.find((part) => name.endsWith(part))!]!;
    return new Uint8Array(values.buffer);
  });
  const shape = [1, x.length / COLUMNS, COLUMNS];
  return (await program.run({ x: { shape, data: x } })).y!.data;
}

/** The same in float64, and the sums of magnitudes. */
function naive(x: Float32Array, matrix: BlockTensor): { readonly sums: number[]; readonly sizes: number[] } {
  const [sums, sizes]: [number[], number[]] = [[], []];
  for (let t = 0; t < x.length / COLUMNS; t++) {
    for (let row = 0; row < ROWS; row++) {
      const terms = Array.from({ length: COLUMNS }, (_, i) => {
        return x[t * COLUMNS + i]! * blockWeightAt(matrix, row * COLUMNS + i);
      });
      sums.push(terms.reduce((sum, term) => sum + term, 0));
      sizes.push(terms.reduce((sum, term) => sum + Math.abs(term), 0));
    }
  }
  return { sums, sizes };
}

/** Values whose blocks differ in size by many orders, one of them zeros. */
function activations(tokens: number): Float32Array {
  const random = randomStream(1, "x");
  return Float32Array.from({ length: tokens * COLUMNS }, (_, i) => {
    const block = Math.floor(i / 16) % 5;
    return block === 4 ? 0 : (random() - 0.5) * 10 ** (3 * block - 6);
  });
}

describe.runIf(fast).each(BLOCK_TYPES)("products with %s", (type) => {
  const matrix = asBlocks(type, randomBlocks(type, ROWS * COLUMNS, "matrix"), [ROWS, COLUMNS]);

  test.each([1, 3])("are those of float64, %i tokens", async (tokens) => {
    const x = activations(tokens);
    const { sums, sizes } = naive(x, matrix);
    const result = await product(x, matrix, runtime);
    expect(result).toHaveLength(sums.length);
    result.forEach((value, i) => {
      expect(Math.abs(value - sums[i]!)).toBeLessThan(2e-5 * sizes[i]!);
    });
  });

  test("have the bits of one thread", async () => {
    const x = activations(2);
    const [one, two] = [await product(x, matrix, runtime), await product(x, matrix, more)];
    expect(maxDifference(one, two)).toBe(0);
  });
});

test("are refused for several sequences", () => {
  const b = new GraphBuilder();
  const layout = { bits: 8, blockSize: 32, offsets: false, terms: 1 } as const;
  const weight = blockWeight(b, "w", { shape: [4, 64], layout });
  const x = b.input("x", ["B", "T", 64]);
  expect(() => new BlockProducts(b).product(x, weight)).toThrow("product of [B, T, 64] with blocks");
});
