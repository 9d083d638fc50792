/**
 * Time of the bare matrix products of a pass over a model, at ONNX Runtime's speed for products of the same shapes: a
 * lower bound for the time of the pass.
 */
import { MICRO_BATCH_TOKENS } from "../src/graph/decoder/forward.ts";
import { type PlainProduct, productSeconds } from "../src/graph/runtime/product_speed.ts";
import type { Runtime } from "../src/graph/runtime/runtime.ts";
import type { ModelSpec } from "../src/model/spec.ts";

/** A pass over windows of `seqLen` tokens, two at a time. */
export interface Pass {
  readonly spec: ModelSpec;
  readonly seqLen: number;
  /** Tokens of all windows. */
  readonly tokens: number;
}

/** Windows that go through a layer together. */
const WINDOWS = 2;

/** Seconds of the products of a forward pass through all layers. */
export function bareForward(runtime: Runtime, pass: Pass): Promise<number> {
  return bareLayers(runtime, pass, forwardProducts(pass));
}

/** Seconds of the products of a forward pass, of a backward pass with recomputation, and of the head's gradient. */
export async function bareBackward(runtime: Runtime, pass: Pass): Promise<number> {
  const forward = forwardProducts(pass);
  const layers = await bareLayers(runtime, pass, [...forward, ...forward, ...backwardProducts(forward)]);
  return layers + (await bareHead(runtime, pass, 2));
}

async function bareLayers(
  runtime: Runtime,
  { spec, seqLen, tokens }: Pass,
  products: readonly PlainProduct[],
): Promise<number> {
  let total = 0;
  for (const product of products) {
    total += (await productSeconds(runtime, product)) * spec.layers.length * (tokens / (WINDOWS * seqLen));
  }
  return total;
}

/** Seconds of `count` products with the output matrix for every token. */
async function bareHead(runtime: Runtime, { spec, tokens }: Pass, count: number): Promise<number> {
  const { vocabSize, hiddenSize } = spec;
  const rows = Math.min(MICRO_BATCH_TOKENS, Math.floor(2 ** 24 / vocabSize));
  const product = { batch: 1, rows, inner: hiddenSize, columns: vocabSize };
  return ((await productSeconds(runtime, product)) * count * tokens) / rows;
}

/** Products of one layer's forward pass on a micro-batch; all layers are taken to be as wide as the first. */
function forwardProducts({ spec, seqLen }: Pass): readonly PlainProduct[] {
  const { hiddenSize: c, headDim, layers } = spec;
  const { neurons, kvGroups, groupSize } = layers[0]!;
  const rows = WINDOWS * seqLen;
  const q = kvGroups * groupSize * headDim;
  const kv = kvGroups * headDim;
  const linear = (inner: number, columns: number): PlainProduct => ({ batch: 1, rows, inner, columns });
  const heads = { batch: WINDOWS * kvGroups, rows: groupSize * seqLen };
  return [
    linear(c, q),
    linear(c, kv),
    linear(c, kv),
    { ...heads, inner: headDim, columns: seqLen },
    { ...heads, inner: seqLen, columns: headDim },
    linear(q, c),
    linear(c, neurons),
    linear(c, neurons),
    linear(neurons, c),
  ];
}

/** Products of one layer's backward pass with respect to activations: linear layers once, attention products twice. */
function backwardProducts(forward: readonly PlainProduct[]): readonly PlainProduct[] {
  const attention = forward.filter(({ batch }) => batch > 1);
  const linear = forward.filter(({ batch }) => batch === 1);
  return [...linear.map((p) => ({ ...p, inner: p.columns, columns: p.inner })), ...attention, ...attention];
}
