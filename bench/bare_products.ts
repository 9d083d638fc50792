/**
 * What the matrix products of a pass over a model cost on their own, at the speed that ONNX Runtime has for bare
 * products of the same shapes: what no pass can be faster than.
 */
import { MICRO_BATCH_TOKENS } from "../src/graph/forward.ts";
import { GraphBuilder } from "../src/graph/graph.ts";
import type { Program, Runtime } from "../src/graph/runtime.ts";
import type { ModelSpec } from "../src/model/spec.ts";
import type { Tensor } from "../src/tensor/tensor.ts";

/** One matrix product of a pass: [batch, m, k] x [batch, n, k]^T, once a layer and micro-batch. */
export interface Product {
  readonly batch: number;
  readonly m: number;
  readonly k: number;
  readonly n: number;
}

/** A pass over windows of `seqLen` tokens, two at a time. */
export interface Pass {
  readonly spec: ModelSpec;
  readonly seqLen: number;
  /** Of all windows. */
  readonly tokens: number;
}

/** Runs of one product, of which the fastest counts. */
const RUNS = 5;

/** Windows that go through a layer together. */
const WINDOWS = 2;

/** Seconds that the products of a forward pass through all layers take. */
export function bareForward(runtime: Runtime, pass: Pass): Promise<number> {
  return bareLayers(runtime, pass, forwardProducts(pass));
}

/**
 * Seconds that the products of a forward pass, of the way back with recomputation, and of the head's gradient take.
 */
export async function bareBackward(runtime: Runtime, pass: Pass): Promise<number> {
  const forward = forwardProducts(pass);
  const layers = await bareLayers(runtime, pass, [...forward, ...forward, ...backwardProducts(forward)]);
  return layers + (await bareHead(runtime, pass, 2));
}

async function bareLayers(
  runtime: Runtime,
  { spec, seqLen, tokens }: Pass,
  products: readonly Product[],
): Promise<number> {
  let total = 0;
  for (const product of products) {
    total += (await bareSeconds(runtime, product)) * spec.layers.length * (tokens / (WINDOWS * seqLen));
  }
  return total;
}

/** `count` products with the vocabulary's matrix for every token. */
async function bareHead(runtime: Runtime, { spec, tokens }: Pass, count: number): Promise<number> {
  const { vocabSize, hiddenSize } = spec;
  const rows = Math.min(MICRO_BATCH_TOKENS, Math.floor(2 ** 24 / vocabSize));
  const product = { batch: 1, m: rows, k: hiddenSize, n: vocabSize };
  return ((await bareSeconds(runtime, product)) * count * tokens) / rows;
}

/** The fastest of a few runs of one product. */
async function bareSeconds(runtime: Runtime, product: Product): Promise<number> {
  const { program, feeds } = await bare(runtime, product);
  let fastest = Number.POSITIVE_INFINITY;
  for (let run = 0; run < RUNS; run++) {
    const start = performance.now();
    await program.run(feeds);
    fastest = Math.min(fastest, (performance.now() - start) / 1000);
  }
  return fastest;
}

async function bare(
  runtime: Runtime,
  { batch, m, k, n }: Product,
): Promise<{ program: Program; feeds: Record<string, Tensor> }> {
  const program = await runtime.program(`bare ${batch === 1}`, () => {
    const b = new GraphBuilder();
    const lead = batch === 1 ? [] : ["B"];
    const product = b.matmul(b.input("a", [...lead, "M", "K"]), b.input("b", [...lead, "N", "K"]), {
      transB: true,
    });
    b.output("c", product);
    return b.finish();
  });
  const tensor = (rows: number): Tensor => {
    const shape = batch === 1 ? [rows, k] : [batch, rows, k];
    return { shape, data: new Float32Array(batch * rows * k).fill(0.01) };
  };
  return { program, feeds: { a: tensor(m), b: tensor(n) } };
}

/** Products of one layer's forward pass on a micro-batch; every layer counts as wide as the first. */
function forwardProducts({ spec, seqLen }: Pass): readonly Product[] {
  const { hiddenSize: c, headDim, layers } = spec;
  const { neurons, kvGroups, groupSize } = layers[0]!;
  const rows = WINDOWS * seqLen;
  const q = kvGroups * groupSize * headDim;
  const kv = kvGroups * headDim;
  const linear = (k: number, n: number): Product => ({ batch: 1, m: rows, k, n });
  const heads = { batch: WINDOWS * kvGroups, m: groupSize * seqLen };
  return [
    linear(c, q),
    linear(c, kv),
    linear(c, kv),
    { ...heads, k: headDim, n: seqLen },
    { ...heads, k: seqLen, n: headDim },
    linear(q, c),
    linear(c, neurons),
    linear(c, neurons),
    linear(neurons, c),
  ];
}

/** Products of one layer's backward pass with respect to activations: linear layers once, attention products twice. */
function backwardProducts(forward: readonly Product[]): readonly Product[] {
  const attention = forward.filter(({ batch }) => batch > 1);
  const linear = forward.filter(({ batch }) => batch === 1).map((p) => ({ ...p, k: p.n, n: p.k }));
  return [...linear, ...attention, ...attention];
}
