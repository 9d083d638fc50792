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
import { Runtime } from "../src/graph/runtime.ts";
import { openModel } from "../src/model/checkpoint.ts";
import type { Model } from "../src/model/model.ts";
import { memorySource } from "../src/tensor/memory.ts";
import { randomStream } from "../src/tensor/random.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { tinyModel } from "../test/tiny_model.ts";
import { bareBackward, bareForward } from "./bare_products.ts";

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

const pass = { spec: model.spec, seqLen, tokens: windowCount * seqLen };

await report("calibration", {
  whole: () => calibrate(runner, [{ name: "random", windows }]),
  bare: () => bareForward(runtime, pass),
});
await report("forward + backward", {
  whole: () => gateGradients(runner, windows),
  bare: () => bareBackward(runtime, pass),
});
await runtime.close();

async function report(
  name: string,
  { whole, bare }: { readonly whole: () => Promise<unknown>; readonly bare: () => Promise<number> },
): Promise<void> {
  let wholeSeconds = Number.POSITIVE_INFINITY;
  let bareSeconds = Number.POSITIVE_INFINITY;
  for (let repeat = 0; repeat < REPEATS; repeat++) {
    wholeSeconds = Math.min(wholeSeconds, await seconds(whole));
    bareSeconds = Math.min(bareSeconds, await bare());
  }
  const share = ((100 * bareSeconds) / wholeSeconds).toFixed(0);
  const rate = (pass.tokens / wholeSeconds).toFixed(0);
  console.log(
    `${name}: ${rate} tokens/s, ${wholeSeconds.toFixed(2)} s, bare products ${bareSeconds.toFixed(2)} s, share ${share} %`,
  );
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
