/** Checks for enough disk and memory before work begins, and estimates the needs of an export. */
import { contrastedSizes } from "../base/byte_size.ts";
import { GpruneError } from "../errors.ts";
import { freeDiskBytes, memoryLimit } from "../io/files/machine.ts";
import { READ_ELEMENTS } from "../io/formats/element_writer.ts";
import { FUSIONS } from "../model/fusions.ts";
import type { Model } from "../model/model.ts";
import type { ModelSpec } from "../model/spec.ts";
import { projectionName } from "../model/weight_names.ts";
import { layerWeightsOf, type WeightSpec, weightsOf } from "../model/weights.ts";
import { elementCount } from "../tensor/tensor.ts";

/** Memory of Node and the tokenizer's files. */
const BASE_BYTES = 200e6;

/** Needs of an export. */
export interface ExportNeeds {
  readonly output: string;
  /** Size of the output. */
  readonly bytes: number;
  /** Memory for a tensor while it is written; {@link writingBytes} when absent. */
  readonly memory?: number;
}

/**
 * Checks that the machine has disk and memory for an export.
 * @throws GpruneError OUTPUT_FAILED when the disk is too full, OUT_OF_MEMORY when a tensor cannot be held
 */
export async function requireExportRoom(
  { spec }: Pick<Model, "spec">,
  { output, bytes, memory = writingBytes(spec) }: ExportNeeds,
): Promise<void> {
  const fewer = "Free some space, write to another disk, or choose a smaller dtype (--dtype).";
  await requireDisk(output, bytes, fewer);
  requireMemory(BASE_BYTES + memory, "the largest tensor", () => "Use a machine with more memory.");
}

/**
 * Memory for a tensor of a checkpoint or GGUF file while it is written, as it is read and as it is stored: one of a
 * layer may be fused from others, which are all read first; the others are written by rows.
 */
export function writingBytes(spec: ModelSpec): number {
  const ofLayers = spec.layers.map((_, index) => {
    const bytes = new Map(layerWeightsOf(spec, index).map((weight) => [weight.name, float32Bytes(weight)]));
    const fused = Object.values(FUSIONS).map(({ parts }) =>
      parts.reduce((sum, part) => sum + (bytes.get(projectionName(index, part)) ?? 0), 0),
    );
    return Math.max(...bytes.values(), ...fused);
  });
  const byRows = Math.min(largestBytes(weightsOf(spec)), 4 * READ_ELEMENTS);
  return 2 * Math.max(...ofLayers, byRows);
}

function float32Bytes({ shape }: WeightSpec): number {
  return 4 * elementCount(shape);
}

/** Bytes of the largest tensor in float32. */
export function largestBytes(weights: readonly WeightSpec[]): number {
  return Math.max(...weights.map(float32Bytes));
}

/** @throws GpruneError OUTPUT_FAILED when the disk of `output` has fewer than `bytes` free */
export async function requireDisk(output: string, bytes: number, hint: string): Promise<void> {
  const free = await freeDiskBytes(output);
  if (bytes <= free) return;
  const [needed, found] = contrastedSizes(bytes, free);
  const message = `${output}: expected ${needed} of free space, got ${found}`;
  throw new GpruneError("OUTPUT_FAILED", message, { hint });
}

/**
 * @param what - name of what needs `bytes` of memory, for the message
 * @throws GpruneError OUT_OF_MEMORY when the machine has less
 */
export function requireMemory(bytes: number, what: string, hint: () => string | undefined): void {
  const limit = memoryLimit();
  if (bytes <= limit) return;
  const [needed, found] = contrastedSizes(bytes, limit);
  const message = `memory: expected ${needed} for ${what}, got ${found}`;
  throw new GpruneError("OUT_OF_MEMORY", message, { hint: hint() });
}
