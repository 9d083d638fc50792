/** Matrix products in float64 by ONNX Runtime's `Gemm`, for sums that need more precision than float32 has. */
import type { Graph, Value } from "../ir/graph.ts";
import { collectIfGrown } from "./memory_policy.ts";
import type { DoubleTensor, Program, Runtime } from "./runtime.ts";

type Product = (a: DoubleTensor, b: DoubleTensor) => Promise<Float64Array>;
type Update = (c: DoubleTensor, a: DoubleTensor, b: DoubleTensor) => Promise<Float64Array>;

/** The four products: A B^T, A B, C - A B^T and C - A B. */
export interface Products {
  readonly multiplyTransposed: Product;
  readonly multiply: Product;
  readonly subtractTransposed: Update;
  readonly subtract: Update;
  /** To be called between two panels, since every product is a new array. */
  readonly collectIfGrown: () => void;
}

/** Compiles the products, once per runtime. */
export async function compileProducts(runtime: Runtime): Promise<Products> {
  const compile = (transposed: boolean, update: boolean): Promise<Program> =>
    runtime.program(`gemm float64 ${transposed} ${update}`, () => gemmGraph(transposed, update));
  const product = async (transposed: boolean): Promise<Product> => {
    const program = await compile(transposed, false);
    return async (a, b) => (await program.runDouble({ a, b })).result!.data;
  };
  const update = async (transposed: boolean): Promise<Update> => {
    const program = await compile(transposed, true);
    return async (c, a, b) => (await program.runDouble({ a, b, c })).result!.data;
  };
  return {
    multiplyTransposed: await product(true),
    multiply: await product(false),
    subtractTransposed: await update(true),
    subtract: await update(false),
    collectIfGrown: () => collectIfGrown(runtime.memory),
  };
}

/** One ONNX `Gemm`: op(B) is B or its transpose; `update` gives C - A op(B) instead of A op(B). */
function gemmGraph(transposed: boolean, update: boolean): Graph {
  const value = (name: string, shape: readonly string[]): Value => ({ name, type: "float64", shape });
  const a = value("a", ["M", "K"]);
  const b = value("b", transposed ? ["N", "K"] : ["K", "N"]);
  const inputs = update ? [a, b, value("c", ["M", "N"])] : [a, b];
  const output = value("product", ["M", "N"]);
  const attributes = { transB: Number(transposed), alpha: { float: update ? -1 : 1 } };
  const nodes = [{ op: "Gemm", inputs, output, attributes }];
  return { inputs, outputs: new Map([["result", output]]), nodes, constants: [] };
}

/** A row-major matrix. */
export function matrixOf(data: Float64Array, columns: number): DoubleTensor {
  return { shape: [data.length / columns, columns], data };
}
