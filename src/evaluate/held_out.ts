/**
 * A first look at what pruning did: perplexity of the dense and the pruned model on windows of the calibration texts
 * that were not used. It says whether a run went well; how the model does on other texts is for `gprune eval` to say.
 */

import type { OnProgress } from "../base/progress.ts";
import type { MadeModel, Passes } from "../calibrate/passes.ts";
import { textScore } from "./perplexity.ts";

/** Perplexities on the unused windows of one set. */
export interface HeldOutScore {
  readonly windows: number;
  readonly dense: number;
  readonly pruned: number;
}

interface HeldOutRequest {
  readonly sets: readonly { readonly name: string; readonly heldOut: readonly Int32Array[] }[];
  readonly onProgress: OnProgress;
}

/** Scores by set name; sets without unused windows are left out. */
export async function heldOutScores(
  passes: Passes,
  { dense, pruned }: { readonly dense: MadeModel; readonly pruned: MadeModel },
  { sets, onProgress }: HeldOutRequest,
): Promise<Readonly<Record<string, HeldOutScore>>> {
  const present = sets.filter(({ heldOut }) => heldOut.length > 0);
  const requests = present.flatMap(({ heldOut: windows }) =>
    [dense, pruned].map((made) => ({ made, windows })),
  );
  const losses = await passes.losses(requests, { stage: "check", onProgress });
  const ppl = (index: number): number => textScore(losses[index]!, requests[index]!.windows.length).ppl;
  const scores = present.map(({ name, heldOut }, d): readonly [string, HeldOutScore] => {
    return [name, { windows: heldOut.length, dense: ppl(2 * d), pruned: ppl(2 * d + 1) }];
  });
  return Object.fromEntries(scores);
}
