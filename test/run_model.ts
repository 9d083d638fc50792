/** Runs a model from end to end, and keeps the outputs of all layers, which no stage of the library needs. */

import { silent } from "../src/base/progress.ts";
import type { DecoderRunner } from "../src/graph/decoder/decoder_runner.ts";
import { embedWindows, forwardLayers, hiddenRows } from "../src/graph/decoder/forward.ts";

/** Outputs of all layers and of the head. */
export interface ModelRun {
  /** Output of every layer, all windows one after another: [B*T, C] each. */
  readonly hidden: readonly Float32Array[];
  /** [B*T, V] */
  readonly logits: Float32Array;
}

/** Sends windows through all layers and the head. */
export async function runModel(runner: DecoderRunner, windows: readonly Int32Array[]): Promise<ModelRun> {
  const batches = await embedWindows(runner, windows);
  const { layers, hiddenSize } = runner.model.spec;
  const hidden: number[][] = layers.map(() => []);
  await forwardLayers(runner, batches, {
    stage: "test",
    onProgress: silent,
    onOutputs: ({ index }, _batch, outputs) => {
      const { shape, data } = outputs.hidden!;
      for (let start = 0; start < data.length; start += shape[2]!) {
        for (let c = start; c < start + hiddenSize; c++) hidden[index]!.push(data[c]!);
      }
    },
  });
  const head = await runner.loadHead();
  const logits: number[] = [];
  for (const batch of batches) {
    const outputs = await runner.runHead("logits", head, { hidden: hiddenRows(batch) });
    for (const logit of outputs.logits!.data) logits.push(logit);
  }
  return { hidden: hidden.map((values) => Float32Array.from(values)), logits: Float32Array.from(logits) };
}

/** Argmax of the last `vocabSize` logits; the lowest index of equals. */
export function lastArgmax(logits: Float32Array, vocabSize: number): number {
  const last = logits.subarray(-vocabSize);
  return last.indexOf(last.reduce((a, b) => Math.max(a, b)));
}
