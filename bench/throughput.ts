/**
 * How much of calibration (and of the backward pass) is spent in matrix products at the speed that ONNX Runtime has for
 * bare products of the same shapes, measured alternately in one run.
 *
 *   node --import tsx bench/throughput.ts [MODEL] [--windows 8] [--seq-len 512]
 *
 * Without MODEL a random model with the shapes of SmolLM2-135M and 4 layers is used. Prints tokens/s and
 * share = (time of the bare products) / (time of the pass); the pass includes reading weights and statistics.
 */
import { parseArgs } from "node:util";
import { calibrate } from "../src/calibrate/calibrate.ts";
import { gateGradients } from "../src/calibrate/gate_gradients.ts";
import { DecoderRunner } from "../src/graph/decoder_runner.ts";
import { GraphBuilder } from "../src/graph/graph.ts";
import { type Program, Runtime } from "../src/graph/runtime.ts";
import { openModel } from "../src/model/checkpoint.ts";
import type { Model } from "../src/model/model.ts";
import { memorySource } from "../src/tensor/memory.ts";
import { randomStream } from "../src/tensor/random.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { tinyModel } from "../test/tiny_model.ts";

/** One matrix product of a pass: [batch, m, k] x [batch, n, k]^T, `count` times a layer and micro-batch. */
interface Product {
  readonly batch: number;
  readonly m: number;
  readonly k: number;
  readonly n: number;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { windows: { type: "string", default: "8" }, "seq-len": { type: "string", default: "512" } },
});
const seqLen = Number(values["seq-len"]);
const windowCount = Number(values.windows);

/** Rounds of pass and bare products in turn; the fastest of each counts. */
const REPEATS = 3;

const model = positionals[0] === undefined ? await smolLikeModel() : await openModel(positionals[0]);
const runtime = new Runtime();
const runner = new DecoderRunner(model, runtime);
const windows = randomWindows();
const tokens = windowCount * seqLen;

await report("calibration", {
  pass: () => calibrate(runner, [{ name: "random", windows }]),
  products: forwardProducts(),
});
await report("forward + backward", {
  pass: () => gateGradients(runner, windows),
  products: [...forwardProducts(), ...forwardProducts(), ...backwardProducts()],
  head: 2,
});
await runtime.close();

async function report(
  name: string,
  { pass, products, head = 0 }: { pass: () => Promise<unknown>; products: readonly Product[]; head?: number },
): Promise<void> {
  let passSeconds = Number.POSITIVE_INFINITY;
  let bareSeconds = Number.POSITIVE_INFINITY;
  for (let repeat = 0; repeat < REPEATS; repeat++) {
    passSeconds = Math.min(passSeconds, await seconds(pass));
    bareSeconds = Math.min(bareSeconds, await bareTime(products, head));
  }
  const share = ((100 * bareSeconds) / passSeconds).toFixed(0);
  const rate = (tokens / passSeconds).toFixed(0);
  console.log(
    `${name}: ${rate} tokens/s, ${passSeconds.toFixed(2)} s, bare products ${bareSeconds.toFixed(2)} s, share ${share} %`,
  );
}

/** Seconds that all products of a pass over all layers take on their own; `head` vocabulary products per token. */
async function bareTime(products: readonly Product[], head: number): Promise<number> {
  const { layers, vocabSize, hiddenSize } = model.spec;
  let total = 0;
  for (const product of products) {
    total += (await bareSeconds(product)) * layers.length * (tokens / (2 * seqLen));
  }
  if (head > 0) {
    const rows = Math.min(1024, Math.floor(2 ** 24 / vocabSize));
    total += ((await bareSeconds({ batch: 1, m: rows, k: hiddenSize, n: vocabSize })) * head * tokens) / rows;
  }
  return total;
}

/** The fastest of a few runs of one product. */
async function bareSeconds(product: Product): Promise<number> {
  const { program, feeds } = await bare(product);
  let fastest = Number.POSITIVE_INFINITY;
  for (let run = 0; run < 5; run++) fastest = Math.min(fastest, await seconds(() => program.run(feeds)));
  return fastest;
}

async function bare({
  batch,
  m,
  k,
  n,
}: Product): Promise<{ program: Program; feeds: Record<string, Tensor> }> {
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

/** Products of one layer's forward pass on a micro-batch of two windows. */
function forwardProducts(): readonly Product[] {
  const { hiddenSize: c, headDim, layers } = model.spec;
  const { neurons, kvGroups, groupSize } = layers[0]!;
  const rows = 2 * seqLen;
  const q = kvGroups * groupSize * headDim;
  const kv = kvGroups * headDim;
  const linear = (k: number, n: number): Product => ({ batch: 1, m: rows, k, n });
  const heads = { batch: 2 * kvGroups, m: groupSize * seqLen };
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
function backwardProducts(): readonly Product[] {
  const forward = forwardProducts();
  const attention = forward.filter(({ batch }) => batch > 1);
  const linear = forward.filter(({ batch }) => batch === 1).map((p) => ({ ...p, k: p.n, n: p.k }));
  return [...linear, ...attention, ...attention];
}

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return (performance.now() - start) / 1000;
}

function randomWindows(): readonly Int32Array[] {
  const random = randomStream(0, "throughput");
  const id = (): number => Math.floor(random() * model.spec.vocabSize);
  return Array.from({ length: windowCount }, () => Int32Array.from({ length: seqLen }, id));
}

/** Four layers of SmolLM2-135M's shape with random weights. */
async function smolLikeModel(): Promise<Model> {
  const rope = { theta: 100_000, rotaryDim: 64, scaling: null };
  const layer = { neurons: 1536, kvGroups: 3, groupSize: 3, rope };
  const small = tinyModel({
    hiddenSize: 576,
    headDim: 64,
    vocabSize: 49152,
    layers: [layer, layer, layer, layer],
  });
  const tensors = new Map<string, Tensor>();
  for (const name of small.weights.names) {
    const { shape, data } = await small.weights.read(name);
    tensors.set(name, { shape, data: name.includes("norm") ? data : data.map((value) => value * 0.05) });
  }
  return { ...small, weights: memorySource(tensors) };
}
