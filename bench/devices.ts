/**
 * The same work on the CPU and on a device, alternating in one process: seconds of each, their ratio, and the largest
 * difference of the results.
 *
 *   node --import tsx bench/devices.ts [MODEL] [--device webgpu|cuda] [--device-dtype f32|f16] [--windows 4] [--seq-len 128]
 *
 * Without MODEL a random model is used, with two layers of SmolLM2-135M's width and a vocabulary of 2048. On
 * SwiftShader, which replaces a graphics card in tests (docs/DEVICES.md), only the differences are meaningful.
 */
import { oneOf, parseOptions, positiveInteger } from "../scripts/clients/options.ts";
import { calibrate } from "../src/calibrate/calibrate.ts";
import { gateGradients } from "../src/calibrate/gate_gradients.ts";
import { perplexity } from "../src/evaluate/perplexity.ts";
import { DecoderRunner } from "../src/graph/decoder/decoder_runner.ts";
import { DEVICE_DTYPES, DEVICE_NAMES, deviceText } from "../src/graph/runtime/device.ts";
import { findDevice } from "../src/graph/runtime/device_check.ts";
import { Runtime } from "../src/graph/runtime/runtime.ts";
import { openModel } from "../src/model/checkpoint/checkpoint.ts";
import { maxAbs, maxDifference } from "../test/numbers.ts";
import { randomWindows } from "../test/random_windows.ts";
import { smolLikeModel } from "./smol_like_model.ts";

const { values, positionals } = parseOptions({
  allowPositionals: true,
  options: {
    device: { type: "string", default: "webgpu" },
    "device-dtype": { type: "string", default: "f32" },
    windows: { type: "string", default: "4" },
    "seq-len": { type: "string", default: "128" },
  },
});
const windowCount = positiveInteger("windows", values.windows);
const seqLen = positiveInteger("seq-len", values["seq-len"]);
/** Rounds in which the devices alternate, besides a first one that compiles and does not count. */
const ROUNDS = 3;

const { used, problem } = await findDevice({
  device: oneOf("device", values.device, DEVICE_NAMES),
  deviceDtype: oneOf("device-dtype", values["device-dtype"], DEVICE_DTYPES),
  requireDevice: true,
});
const model =
  positionals[0] === undefined
    ? await smolLikeModel({ layers: 2, vocabSize: 2048 })
    : await openModel(positionals[0]);
const runtimes = { cpu: new Runtime(), device: new Runtime({ device: used }) };
const { vocabSize } = model.spec;
const lengths = Array<number>(windowCount).fill(seqLen);
const windows = randomWindows(lengths, { vocabSize });

/** Work by name; each gives its results by name. */
const WORK: Readonly<Record<string, (runner: DecoderRunner) => Promise<Numbers>>> = {
  calibration: async (runner) => {
    const stats = (await calibrate(runner, [{ name: "random", windows }])).get("random")!;
    return new Map([...stats.spaces].map(([space, { sumSquares }]) => [space, sumSquares]));
  },
  "gate gradients": async (runner) => {
    const [first] = await gateGradients(runner, windows);
    return first!.gates;
  },
  evaluation: async (runner) => {
    const { nll } = await perplexity(runner, windows);
    return new Map([["nll", Float64Array.of(nll)]]);
  },
};

type Numbers = ReadonlyMap<string, Float32Array | Float64Array>;

console.log(`${deviceText(used)} against the CPU, ${windows.length} windows of ${windows[0]!.length} tokens`);
if (problem !== null) console.log(problem);
console.log(
  "| work | CPU s | device s | CPU / device | largest relative difference |\n|---|---|---|---|---|",
);
for (const [name, work] of Object.entries(WORK)) console.log(await compared(name, work));
for (const runtime of Object.values(runtimes)) await runtime.close();
await model.weights.close();

/** Row of the table for one kind of work. */
async function compared(name: string, work: (runner: DecoderRunner) => Promise<Numbers>): Promise<string> {
  const best = { cpu: Number.POSITIVE_INFINITY, device: Number.POSITIVE_INFINITY };
  const found: Partial<Record<keyof typeof runtimes, Numbers>> = {};
  for (let round = 0; round <= ROUNDS; round++) {
    for (const place of ["cpu", "device"] as const) {
      const start = performance.now();
      found[place] = await work(new DecoderRunner(model, runtimes[place]));
      if (round > 0) best[place] = Math.min(best[place], (performance.now() - start) / 1000);
    }
  }
  const apart = [...found.cpu!].map(
    ([key, right]) => maxDifference(found.device!.get(key)!, right) / (maxAbs(right) || 1),
  );
  const cells = [best.cpu.toFixed(2), best.device.toFixed(2), (best.cpu / best.device).toFixed(2)];
  return `| ${[name, ...cells, Math.max(...apart).toExponential(1)].join(" | ")} |`;
}
