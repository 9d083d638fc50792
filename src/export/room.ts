/** Checks for enough disk and memory before work begins, and estimates the needs of an export. */
import { contrastedSizes } from "../base/byte_size.ts";
import { GpruneError } from "../errors.ts";
import { freeDiskBytes, memoryLimit } from "../io/files/machine.ts";
import type { Model } from "../model/model.ts";
import { weightsOf } from "../model/spaces.ts";
import { elementCount } from "../tensor/tensor.ts";

/** Memory of Node and the tokenizer's files. */
const BASE_BYTES = 200e6;
/** Float32-sized copies of a tensor alive at one time: as read; decoded, transposed or fused; and encoded. */
const COPIES = 3;

/**
 * Checks that the machine has disk and memory for an export.
 * @param bytes - size of the output
 * @throws GpruneError OUTPUT_FAILED when the disk is too full, OUT_OF_MEMORY when a tensor cannot be held
 */
export async function requireExportRoom(
  { spec }: Pick<Model, "spec">,
  { output, bytes }: { readonly output: string; readonly bytes: number },
): Promise<void> {
  const fewer = "Free some space, write to another disk, or choose a smaller dtype (--dtype).";
  await requireDisk(output, bytes, fewer);
  const largest = Math.max(...weightsOf(spec).map(({ shape }) => elementCount(shape)));
  const needed = BASE_BYTES + COPIES * 4 * largest;
  requireMemory(needed, "the largest tensor", () => "Use a machine with more memory.");
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
