/** Measures how fast this machine multiplies matrices. */
import { elementCount, type Tensor } from "../../tensor/tensor.ts";
import { GraphBuilder } from "../ir/graph_builder.ts";
import type { ProductSizes } from "../ir/product_sizes.ts";
import type { Runtime } from "./runtime.ts";

/** Smallest duration of a measurement, in seconds, and smallest number of runs. */
const MIN_SECONDS = 0.25;
const MIN_RUNS = 3;

/** Sizes of a product of [batch, rows, inner] by the transpose of [batch, columns, inner]. */
export type PlainProduct = Pick<ProductSizes, "batch" | "rows" | "inner" | "columns">;

/** Floating-point operations per second of a float32 product, in the fastest of several runs. */
export async function productSpeed(runtime: Runtime, product: PlainProduct): Promise<number> {
  const { batch, rows, inner, columns } = product;
  return (2 * batch * rows * inner * columns) / (await productSeconds(runtime, product));
}

/** Seconds of a float32 product, in the fastest of several runs. */
export async function productSeconds(
  runtime: Runtime,
  { batch, rows, inner, columns }: PlainProduct,
): Promise<number> {
  const b = new GraphBuilder();
  const leading = batch === 1 ? [] : [batch];
  const left = [...leading, rows, inner];
  const right = [...leading, columns, inner];
  b.output("product", b.matmul(b.input("left", left), b.input("right", right), { transB: true }));
  const graph = b.finish();
  const program = await runtime.program(`product ${[batch, rows, inner, columns]}`, () => graph);
  const ones = (shape: readonly number[]): Tensor => {
    return { shape, data: new Float32Array(elementCount(shape)).fill(1) };
  };
  const feeds = { left: ones(left), right: ones(right) };
  let fastest = Number.POSITIVE_INFINITY;
  const start = performance.now();
  for (let run = 0; run < MIN_RUNS || performance.now() - start < 1000 * MIN_SECONDS; run++) {
    const runStart = performance.now();
    await program.run(feeds);
    fastest = Math.min(fastest, performance.now() - runStart);
  }
  return fastest / 1000;
}
