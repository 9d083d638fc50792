/**
 * The allocations by importance alone. To add one: a file beside this one, a row here; the laws in allocate.test.ts
 * then cover it.
 */
import { ALLOCATION_NAMES } from "../base/choices.ts";
import { GpruneError } from "../errors.ts";
import { global } from "./allocate_global.ts";
import { uniform } from "./allocate_uniform.ts";
import type { Allocation } from "./allocation.ts";

/** All of them; `learned` and `curves` are part of `decideGprune`. */
export const ALLOCATIONS: readonly Allocation[] = [uniform, global];

/**
 * The allocation with this name.
 * @throws GpruneError BAD_ARGUMENT listing the names, for an unknown name and for `learned` and `curves`, which need
 *   more than importance (`decideGprune`)
 */
export function allocationByName(name: string): Allocation {
  const allocation = ALLOCATIONS.find((candidate) => candidate.name === name);
  if (allocation !== undefined) return allocation;
  const names = ALLOCATIONS.map((candidate) => candidate.name).join(", ");
  throw new GpruneError("BAD_ARGUMENT", `allocation: expected one of ${names}, got "${name}"`, {
    hint: ALLOCATION_NAMES.some((other) => other === name)
      ? `${name} needs more than importance scores; decideGprune computes it.`
      : undefined,
  });
}
