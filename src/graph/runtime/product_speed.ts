/** How fast this machine multiplies matrices. */

import { elementCount, type Tensor } from "../../tensor/tensor.ts";
import { GraphBuilder } from "../ir/graph.ts";
import type { ProductSizes } from "../ir/product_sizes.ts";
import type { Runtime } from "./runtime.ts";

/** Seconds and runs that are enough. */
const SECONDS = 0.25;
const RUNS = 3;

/** Sizes of a product of [batch, rows, inner] by the transpose of [batch, columns, inner]. */
export type PlainProduct = Pick<ProductSizes, "batch" | "rows" | "inner" | "columns">;

/** Multiplications and additions a second of a float32 product, in the fastest of some runs. */
export async function productSpeed(runtime: Runtime, product: PlainProduct): Promise<number> {
  const { batch, rows, inner, columns } = product;
  return (2 * batch * rows * inner * columns) / (await productSeconds(runtime, product));
}

/** Seconds of a float32 product, in the fastest of some runs. */
export async function productSeconds(
  runtime: Runtime,
  { batch, rows, inner, columns }: PlainProduct,
): Promise<number> {
  const b = new GraphBuilder();
  const lead = batch === 1 ? [] : [batch];
  const [left, right] = [
    [...lead, rows, inner],
    [...lead, columns, inner],
  ];
  b.output("product", b.matmul(b.input("left", left), b.input("right", right), { transB: true }));
  const graph = b.finish();
  const program = await runtime.program(`product ${[batch, rows, inner, columns]}`, () => graph);
  const ones = (shape: readonly number[]): Tensor => {
    return { shape, data: new Float32Array(elementCount(shape)).fill(1) };
  };
  const feeds = { left: ones(left), right: ones(right) };
  let fastest = Number.POSITIVE_INFINITY;
  const start = performance.now();
  for (let run = 0; run < RUNS || performance.now() - start < 1000 * SECONDS; run++) {
    const began = performance.now();
    await program.run(feeds);
    fastest = Math.min(fastest, performance.now() - began);
  }
  return fastest / 1000;
}
