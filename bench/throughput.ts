/**
 * Share of bare matrix products in the time of calibration and of the backward pass. Bare products of the same shapes
 * are timed in ONNX Runtime, alternating with the passes in one process.
 *
 *   node --import tsx bench/throughput.ts [MODEL] [--windows 8] [--seq-len 512]
 *
 * Without MODEL a random model is used, with 4 layers of SmolLM2-135M's shapes. Prints tokens/s and
 * share = (time of the bare products) / (time of the pass); the pass includes reading weights and statistics.
 */
import { parseOptions, positiveInteger } from "../scripts/clients/options.ts";
import { calibrate } from "../src/calibrate/calibrate.ts";
import { gateGradients } from "../src/calibrate/gate_gradients.ts";
import { DecoderRunner } from "../src/graph/decoder/decoder_runner.ts";
import { Runtime } from "../src/graph/runtime/runtime.ts";
import { openModel } from "../src/model/checkpoint/checkpoint.ts";
import { randomWindows } from "../test/random_windows.ts";
import { bareBackward, bareForward } from "./bare_products.ts";
import { smolLikeModel } from "./smol_like_model.ts";

const { values, positionals } = parseOptions({
  allowPositionals: true,
  options: { windows: { type: "string", default: "8" }, "seq-len": { type: "string", default: "512" } },
});
const seqLen = positiveInteger("seq-len", values["seq-len"]);
const windowCount = positiveInteger("windows", values.windows);

/** Rounds in which pass and bare products alternate; the fastest of each counts. */
const REPEATS = 3;

const model =
  positionals[0] === undefined
    ? await smolLikeModel({ layers: 4, vocabSize: 49152 })
    : await openModel(positionals[0]);
const runtime = new Runtime();
const runner = new DecoderRunner(model, runtime);
const { vocabSize } = model.spec;
const windows = randomWindows(Array<number>(windowCount).fill(seqLen), { vocabSize });

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
