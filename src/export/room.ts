/** What writing a model needs, checked before any of it is written. */
import { contrastedSizes } from "../byte_size.ts";
import { GpruneError } from "../errors.ts";
import { freeDiskBytes, memoryLimit } from "../io/machine.ts";
import type { Model } from "../model/model.ts";
import { weightsOf } from "../model/spaces.ts";
import { elementCount } from "../tensor/tensor.ts";

/** Node and the tokenizer's files. */
const BASE_BYTES = 200e6;
/** Float32 copies of the largest tensor that are alive at one time: as read, as decoded, turned or joined, and as encoded. */
const COPIES = 3;

/**
 * Checks that the machine has what an export needs.
 * @param bytes - of the output
 * @throws GpruneError OUTPUT_FAILED when the disk is too full, OUT_OF_MEMORY when a tensor cannot be held
 */
export async function requireExportRoom(
  { spec }: Pick<Model, "spec">,
  { output, bytes }: { readonly output: string; readonly bytes: number },
): Promise<void> {
  const free = await freeDiskBytes(output);
  if (bytes > free) {
    const [needed, found] = contrastedSizes(bytes, free);
    const message = `${output}: expected ${needed} of free space, got ${found}`;
    throw new GpruneError("OUTPUT_FAILED", message, {
      hint: "Free some space, write to another disk, or choose a --dtype of fewer bits.",
    });
  }
  const largest = Math.max(...weightsOf(spec).map(({ shape }) => elementCount(shape)));
  const needed = BASE_BYTES + COPIES * 4 * largest;
  if (needed <= memoryLimit()) return;
  const [most, found] = contrastedSizes(needed, memoryLimit());
  const message = `memory: expected ${most} for the largest tensor, got ${found}`;
  throw new GpruneError("OUT_OF_MEMORY", message, { hint: "Use a machine with more memory." });
}
