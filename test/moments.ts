/** Moments over sets, as a pass of their own. */
import { measureActivations, type WeightedTokenSet } from "../src/calibrate/calibrate.ts";
import { measuredSets } from "../src/calibrate/measured_sets.ts";
import type { Moments } from "../src/calibrate/moments.ts";
import { DecoderRunner } from "../src/graph/decoder_runner.ts";
import type { Runtime } from "../src/graph/runtime.ts";
import type { Model } from "../src/model/model.ts";

export async function momentsOver(
  model: Model,
  runtime: Runtime,
  sets: readonly WeightedTokenSet[],
): Promise<Moments> {
  return (await measureActivations(new DecoderRunner(model, runtime), measuredSets([], sets))).moments;
}
