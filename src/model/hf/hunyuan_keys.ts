/** Keys of HunYuan's class with experts (configuration_hunyuan_v1_moe.py), which may have a value for each layer. */
import { z } from "zod";
import { GpruneError } from "../../errors.ts";
import type { JsonObject } from "../../io/files/json.ts";
import { MAX_LAYERS, size } from "./limits.ts";
import { requireEveryLayer } from "./mixer_keys.ts";
import { type OwnKeys, type OwnKeysFormat, parsedKeys } from "./own_keys.ts";

const value = z.union([z.number(), z.array(z.number()).min(1).max(MAX_LAYERS)]).nullish();

const schema = z.object({ num_experts: value, moe_topk: value, num_shared_expert: value });
const countSchema = z.object({ num_hidden_layers: size.max(MAX_LAYERS) });
type Key = keyof z.infer<typeof schema>;

/** One number for each of the keys. */
export const SAME_IN_LAYERS: OwnKeysFormat = { read: readNumbers, write: () => ({}) };

/**
 * The width of experts, and of the shared one, is `intermediate_size`, whatever `moe_intermediate_size` says.
 * @throws GpruneError BAD_CONFIG for fewer numbers than layers; UNSUPPORTED for layers with other numbers than the
 *   first, and for other than one shared expert (transformers' class has one, whatever the file says)
 */
function readNumbers(config: JsonObject, where: string): OwnKeys {
  const keys = parsedKeys(schema, config, where);
  const { num_hidden_layers: count } = parsedKeys(countSchema, config, where);
  const numbers = Object.fromEntries(
    (Object.keys(schema.shape) as Key[]).map((key) => {
      const given = keys[key];
      if (!Array.isArray(given)) return [key, given ?? null];
      requireEveryLayer({ [key]: given }, count, where);
      return [key, sameIn(given.slice(0, count), key, where)];
    }),
  );
  const { num_shared_expert: shared, ...usual } = numbers;
  if (shared != null && shared !== 1)
    throw new GpruneError("UNSUPPORTED", `${where}: expected num_shared_expert 1, got ${shared}`);
  const { moe_intermediate_size: _, num_shared_expert: __, ...others } = config;
  return { usual: { ...others, ...usual }, complete: (spec) => spec };
}

function sameIn(given: readonly number[], key: Key, where: string): number {
  const other = given.find((each) => each !== given[0]);
  if (other === undefined) return given[0]!;
  const message = `${where}: expected one ${key} in all layers, got ${given[0]} and ${other}`;
  throw new GpruneError("UNSUPPORTED", message);
}
