/**
 * Where there is room, what layers compute on the way forward stays in memory for the way back. That is much for every
 * token, so few windows go through the model at a time, and its weights stay as well, or they would be read for each
 * few.
 */
import { getOrMake } from "../../base/map_values.ts";
import type { Model } from "../../model/model.ts";
import type { ModelSpec } from "../../model/spec.ts";
import { heldSource } from "../../tensor/held.ts";
import { valueBytes } from "../ir/footprint.ts";
import type { Value } from "../ir/graph.ts";
import { CPU } from "../runtime/device.ts";
import type { MemoryPolicy } from "../runtime/memory_policy.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { type LayerStructure, layerSizes, layerStructure } from "./decoder.ts";
import { DecoderRunner } from "./decoder_runner.ts";
import { type BackwardProgram, LAYER_PROGRAMS, type LayerProgram } from "./programs.ts";

/**
 * Whether a runtime keeps activations: not where they would come from a device, which is faster to compute them again.
 */
export function keepsActivations({ memory, device }: Pick<Runtime, "memory" | "device">): boolean {
  return memory.keepActivations && device.name === CPU.name;
}

/** A model that lots of windows go through one after the other. */
export function modelForLots(model: Model, runtime: Runtime): Model {
  return keepsActivations(runtime) ? { ...model, weights: heldSource(model.weights) } : model;
}

/** The same for its runner. */
export function runnerForLots({ model, runtime }: DecoderRunner): DecoderRunner {
  return new DecoderRunner(modelForLots(model, runtime), runtime, {
    holdsWeights: keepsActivations(runtime),
  });
}

/** The programs of the way forward and back. */
export function programsThereAndBack(
  { keepActivations }: Pick<MemoryPolicy, "keepActivations">,
  program: BackwardProgram,
): readonly LayerProgram[] {
  return keepActivations ? ["keeping", `${program}Kept`] : ["forward", program];
}

/** Bytes that the program `keeping` leaves of a token in all layers. */
export function keptBytes(spec: ModelSpec): number {
  const graphs = new Map<string, readonly Value[]>();
  return spec.layers.reduce((sum, layer) => {
    const structure = layerStructure(spec, layer);
    const kept = getOrMake(graphs, JSON.stringify(structure), () => keptOutputs(structure));
    return sum + valueBytes(kept, { B: 1, T: 1, ...layerSizes(layer) });
  }, 0);
}

function keptOutputs(structure: LayerStructure): readonly Value[] {
  const { outputs } = LAYER_PROGRAMS.keeping(structure);
  return [...outputs].flatMap(([name, value]) => (name === "hidden" ? [] : [value]));
}
