/** How fast this machine multiplies matrices. */
import { GraphBuilder } from "./graph.ts";
import { operationsOf, type ProductSizes } from "./product_sizes.ts";
import type { Runtime } from "./runtime.ts";

/** Seconds and runs that are enough. */
const SECONDS = 0.25;
const RUNS = 3;

/** Multiplications and additions a second of a float32 product by a weight [columns, inner], in the fastest of some runs. */
export async function productSpeed(
  runtime: Runtime,
  { rows, inner, columns }: Pick<ProductSizes, "rows" | "inner" | "columns">,
): Promise<number> {
  const b = new GraphBuilder();
  const weight = b.input("weight", [columns, inner]);
  b.output("y", b.matmul(b.input("x", [rows, inner]), weight, { transB: true }));
  const graph = b.finish();
  const program = await runtime.program(`product ${rows} ${inner} ${columns}`, () => graph);
  const ones = (shape: readonly [number, number]) => ({
    shape,
    data: new Float32Array(shape[0] * shape[1]).fill(1),
  });
  const feeds = { x: ones([rows, inner]), weight: ones([columns, inner]) };
  let fastest = Number.POSITIVE_INFINITY;
  const start = performance.now();
  for (let run = 0; run < RUNS || performance.now() - start < 1000 * SECONDS; run++) {
    const began = performance.now();
    await program.run(feeds);
    fastest = Math.min(fastest, performance.now() - began);
  }
  return operationsOf(graph, {}) / (fastest / 1000);
}
