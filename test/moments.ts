/** Moments over sets, and a copy of moments in memory for comparisons. */
import { measureActivations, type WeightedTokenSet } from "../src/calibrate/calibrate.ts";
import { measuredSets } from "../src/calibrate/measured_sets.ts";
import type { Moments } from "../src/calibrate/moments.ts";
import { DecoderRunner } from "../src/graph/decoder/decoder_runner.ts";
import type { Runtime } from "../src/graph/runtime/runtime.ts";
import type { Model } from "../src/model/model.ts";
import { loaded } from "../src/tensor/stash.ts";

/** Moments of sets, from a pass of their own. */
export async function momentsOver(
  model: Model,
  runtime: Runtime,
  sets: readonly WeightedTokenSet[],
): Promise<Moments> {
  return (await measureActivations(new DecoderRunner(model, runtime), measuredSets([], sets))).moments;
}

/** Moments with all covariances in memory. */
export async function inMemory(moments: Moments): Promise<Moments> {
  const read = Array.from(moments, async ([id, { covariance, ...sums }]) => {
    return [id, { ...sums, covariance: await loaded(covariance) }] as const;
  });
  return new Map(await Promise.all(read));
}
