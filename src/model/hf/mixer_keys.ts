/** What configurations have in common whose layers may have something else than attention (`MixerSpec`). */
import { z } from "zod";
import { GpruneError } from "../../errors.ts";
import type { JsonObject } from "../../io/files/json.ts";
import { FILTER_LENGTHS, type Mamba2Spec, STATE_LIMITS } from "../mixer_spec.ts";
import { size } from "./limits.ts";

/** Schemas of the lengths of filters, and of the heads of linear attention and their channels. */
export const filterLength: z.ZodInt = z.int().min(FILTER_LENGTHS.least).max(FILTER_LENGTHS.most);
export const linearHeads: z.ZodInt = size.max(STATE_LIMITS.heads);
export const linearHeadSize: z.ZodInt = size.max(STATE_LIMITS.channels);

/**
 * @param lists - lists with an entry for each layer, by their keys
 * @throws GpruneError BAD_CONFIG for a list that is shorter than the number of layers
 */
export function requireEveryLayer(
  lists: Readonly<Record<string, readonly unknown[] | null | undefined>>,
  count: number,
  where: string,
): void {
  for (const [key, list] of Object.entries(lists)) {
    if (!list || list.length >= count) continue;
    const message = `${where}: expected ${key} with an entry for every layer, got ${list.length}`;
    throw new GpruneError("BAD_CONFIG", message);
  }
}

/** @throws GpruneError UNSUPPORTED for limits of Mamba 2's steps, which would change what is computed */
export function requireUnlimitedSteps({ time_step_limit: limits }: JsonObject, where: string): void {
  const [least, most] = Array.isArray(limits) ? limits : [];
  if ((least ?? 0) === 0 && typeof most !== "number") return;
  const message = `${where}: expected time_step_limit [0, Infinity], got ${JSON.stringify(limits)}`;
  throw new GpruneError("UNSUPPORTED", message);
}

/**
 * @param keys - those of both numbers
 * @throws GpruneError BAD_CONFIG for value heads that key heads cannot share equally
 */
export function requireFullGroups(
  { valueHeads, keyHeads }: Pick<Mamba2Spec, "valueHeads" | "keyHeads">,
  keys: readonly [values: string, groups: string],
  where: string,
): void {
  if (valueHeads % keyHeads === 0) return;
  const expected = `${keys[0]} divisible by ${keys[1]}, ${keyHeads}`;
  throw new GpruneError("BAD_CONFIG", `${where}: expected ${expected}, got ${valueHeads}`);
}

/**
 * @param attends - whether each layer has attention
 * @param other - what the others have, for the message
 * @throws GpruneError BAD_CONFIG where no layer has
 */
export function requireAttention(attends: readonly boolean[], other: string, where: string): void {
  if (attends.includes(true)) return;
  throw new GpruneError("BAD_CONFIG", `${where}: expected a layer with attention, got ${other} alone`);
}
