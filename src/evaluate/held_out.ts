/**
 * A first check of a pruned model: perplexity of the dense and the pruned model on held-out windows of the calibration
 * texts. It shows whether a run went well; `gprune eval` measures the model on other texts.
 */

import type { OnProgress } from "../base/progress.ts";
import type { MadeModel, Passes } from "../calibrate/passes.ts";
import { textScore } from "./perplexity.ts";

/** Perplexities on the held-out windows of one calibration set. */
export interface HeldOutScore {
  readonly windows: number;
  readonly dense: number;
  readonly pruned: number;
}

interface HeldOutRequest {
  readonly sets: readonly { readonly name: string; readonly heldOut: readonly Int32Array[] }[];
  readonly onProgress: OnProgress;
}

/** Scores by set name; sets without held-out windows are left out. */
export async function heldOutScores(
  passes: Passes,
  { dense, pruned }: { readonly dense: MadeModel; readonly pruned: MadeModel },
  { sets, onProgress }: HeldOutRequest,
): Promise<Readonly<Record<string, HeldOutScore>>> {
  const measured = sets.filter(({ heldOut }) => heldOut.length > 0);
  const requests = measured.flatMap(({ heldOut: windows }) =>
    [dense, pruned].map((made) => ({ made, windows })),
  );
  const losses = await passes.losses(requests, { stage: "check", onProgress });
  const ppl = (index: number): number => textScore(losses[index]!, requests[index]!.windows.length).ppl;
  const scores = measured.map(({ name, heldOut }, s): readonly [string, HeldOutScore] => {
    return [name, { windows: heldOut.length, dense: ppl(2 * s), pruned: ppl(2 * s + 1) }];
  });
  return Object.fromEntries(scores);
}
