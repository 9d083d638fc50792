import { afterAll, expect, test } from "vitest";
import { randomWindows } from "../../test/random_windows.ts";
import { referenceDecoder } from "../../test/reference_decoder.ts";
import { tinyModel } from "../../test/tiny_model.ts";
import type { ProgressEvent } from "../base/progress.ts";
import { localPasses, unpruned } from "../calibrate/passes.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import type { Model } from "../model/model.ts";
import { heldOutScores } from "./held_out.ts";

const runtime = new Runtime({ threads: 1 });
afterAll(() => runtime.close());

/** Perplexity by the naive decoder. */
async function naivePerplexity(model: Model, windows: readonly Int32Array[]): Promise<number> {
  const reference = await referenceDecoder(model);
  const predictions = windows.reduce((sum, { length }) => sum + length - 1, 0);
  const total = windows.reduce((sum, window) => sum + reference(window).loss * (window.length - 1), 0);
  return Math.exp(total / predictions);
}

test("held-out scores are the perplexities of either model on every set that has such windows", async () => {
  const [dense, pruned] = [tinyModel({ seed: 1 }), tinyModel({ seed: 1, layers: [{ neurons: 3 }, {}] })];
  const sets = [
    { name: "web", heldOut: randomWindows([9, 9], { seed: 1 }) },
    { name: "short", heldOut: [] },
    { name: "code", heldOut: randomWindows([7], { seed: 2 }) },
  ];
  const events: ProgressEvent[] = [];
  const scores = await heldOutScores(
    localPasses(dense, runtime),
    { dense: unpruned(dense), pruned: unpruned(pruned) },
    { sets, onProgress: (event) => events.push(event) },
  );
  expect(Object.entries(scores).map(([name, { windows }]) => [name, windows])).toEqual([
    ["web", 2],
    ["code", 1],
  ]);
  for (const { name, heldOut } of sets.filter(({ heldOut }) => heldOut.length > 0)) {
    expect(scores[name]!.dense / (await naivePerplexity(dense, heldOut))).toBeCloseTo(1, 4);
    expect(scores[name]!.pruned / (await naivePerplexity(pruned, heldOut))).toBeCloseTo(1, 4);
  }
  expect(events).toEqual([1, 2, 3, 4].map((done) => ({ stage: "check", done, total: 4, unit: "texts" })));
});
