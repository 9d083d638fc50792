/** Bases of the rotation that Granite's classes with windows have for each layer (configuration_granite_swa.py). */
import { z } from "zod";
import type { JsonObject } from "../../io/files/json.ts";
import type { LayerSpec } from "../spec.ts";
import { MAX_LAYERS, size } from "./limits.ts";
import { requireEveryLayer } from "./mixer_keys.ts";
import { type OwnKeys, type OwnKeysFormat, parsedKeys } from "./own_keys.ts";

const schema = z.object({
  layer_rope_theta: z.array(z.number().nonnegative()).max(MAX_LAYERS).nullish(),
  num_hidden_layers: size.max(MAX_LAYERS),
});

/** `layer_rope_theta`, which counts more than the usual base; 0 for a layer that is not rotated. */
export const LAYER_THETAS: OwnKeysFormat = {
  read: readThetas,
  write: ({ layers }) => ({ layer_rope_theta: layers.map(({ rope }) => rope?.theta ?? 0) }),
};

/** @throws GpruneError BAD_CONFIG for negative bases, or fewer than layers */
function readThetas(config: JsonObject, where: string): OwnKeys {
  const parsed = parsedKeys(schema, config, where);
  const { layer_rope_theta: thetas, num_hidden_layers: count } = parsed;
  requireEveryLayer({ layer_rope_theta: thetas }, count, where);
  const rotated = (layer: LayerSpec, index: number): LayerSpec => {
    const theta = thetas?.[index];
    if (theta === undefined || layer.rope === null) return layer;
    return { ...layer, rope: theta === 0 ? null : { ...layer.rope, theta } };
  };
  return { usual: config, complete: (spec) => ({ ...spec, layers: spec.layers.map(rotated) }) };
}
