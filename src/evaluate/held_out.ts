/**
 * A first look at what pruning did: perplexity of the dense and the pruned model on windows of the calibration texts that
 * were not used. It says whether a run went well; how the model does on other texts is for `gprune eval` to say.
 */
import { DecoderRunner } from "../graph/decoder_runner.ts";
import type { Runtime } from "../graph/runtime.ts";
import type { Model } from "../model/model.ts";
import { type OnProgress, silent } from "../progress.ts";
import { perplexity } from "./perplexity.ts";

/** Perplexities on the unused windows of one set. */
export interface HeldOutScore {
  readonly windows: number;
  readonly dense: number;
  readonly pruned: number;
}

/** Two states of one model. */
export interface ModelPair {
  readonly dense: Model;
  readonly pruned: Model;
  readonly runtime: Runtime;
}

/** Scores by set name; sets without unused windows are left out. */
export async function compareHeldOut(
  { dense, pruned, runtime }: ModelPair,
  sets: readonly { readonly name: string; readonly heldOut: readonly Int32Array[] }[],
  onProgress: OnProgress = silent,
): Promise<Readonly<Record<string, HeldOutScore>>> {
  const present = sets.filter(({ heldOut }) => heldOut.length > 0);
  const runners = { dense: new DecoderRunner(dense, runtime), pruned: new DecoderRunner(pruned, runtime) };
  const scores: [string, HeldOutScore][] = [];
  for (const [index, { name, heldOut }] of present.entries()) {
    const before = await perplexity(runners.dense, heldOut);
    const after = await perplexity(runners.pruned, heldOut);
    scores.push([name, { windows: heldOut.length, dense: before.ppl, pruned: after.ppl }]);
    onProgress({ stage: "check", done: index + 1, total: present.length, unit: "sets" });
  }
  return Object.fromEntries(scores);
}
