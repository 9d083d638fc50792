/**
 * Keeps activations of the forward pass in memory for the backward pass, where there is room. They are large for every
 * token, so few windows go through the model at a time; its weights are held as well, or they would be read again for
 * each lot of windows.
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
import { DecoderRunner } from "./decoder_runner.ts";
import { type LayerStructure, layerSizes, layerStructure, stateSize } from "./layer_structure.ts";
import { type BackwardProgram, LAYER_PROGRAMS, type LayerProgram, structureFor } from "./programs.ts";

/**
 * Whether a runtime keeps activations: only on the CPU, since another device computes them again in less time than it
 * takes to copy them.
 */
export function keepsActivations({ memory, device }: Pick<Runtime, "memory" | "device">): boolean {
  return memory.keepActivations && device.name === CPU.name;
}

/** The model for passes over several lots of windows: with its weights in memory if activations are kept. */
export function modelForLots(model: Model, runtime: Runtime): Model {
  return keepsActivations(runtime) ? { ...model, weights: heldSource(model.weights) } : model;
}

/** A runner of `modelForLots`. */
export function runnerForLots({ model, runtime }: DecoderRunner): DecoderRunner {
  return new DecoderRunner(modelForLots(model, runtime), runtime, {
    holdsWeights: keepsActivations(runtime),
  });
}

/** The programs of the forward and the backward pass. */
export function programsThereAndBack(
  { keepActivations }: Pick<MemoryPolicy, "keepActivations">,
  program: BackwardProgram,
): readonly LayerProgram[] {
  return keepActivations ? ["keeping", `${program}Kept`] : ["forward", program];
}

/** Bytes per token of the inputs of all layers. */
export function inputBytes(spec: ModelSpec): number {
  return spec.layers.reduce((sum, _, index) => sum + 4 * stateSize(spec, index), 0);
}

/** Bytes per token of the activations that the program `keeping` outputs, of all layers together. */
export function keptBytes(spec: ModelSpec): number {
  const graphs = new Map<string, readonly Value[]>();
  return spec.layers.reduce((sum, layer, index) => {
    const structure = structureFor("keeping", layerStructure(spec, index), { tokens: 1, window: null });
    const kept = getOrMake(graphs, JSON.stringify(structure), () => keptOutputs(structure));
    return sum + valueBytes(kept, { B: 1, T: 1, ...layerSizes(layer) });
  }, 0);
}

function keptOutputs(structure: LayerStructure): readonly Value[] {
  const { outputs } = LAYER_PROGRAMS.keeping(structure);
  return [...outputs].flatMap(([name, value]) => (name === "hidden" ? [] : [value]));
}
