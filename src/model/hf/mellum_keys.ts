/** Windows of Mellum 2's class (configuration_mellum.py): without `layer_types`, no layer has one. */
import { z } from "zod";
import { MAX_LAYERS, size } from "./limits.ts";
import { type OwnKeysFormat, parsedKeys } from "./own_keys.ts";

const schema = z.object({
  layer_types: z.array(z.unknown()).nullish(),
  num_hidden_layers: size.max(MAX_LAYERS),
});

/** Layers have windows if they are called so, whatever other keys say that other classes read. */
export const WINDOWED_BY_NAME: OwnKeysFormat = {
  read: (config, where) => {
    const { layer_types: types, num_hidden_layers: count } = parsedKeys(schema, config, where);
    const usual = Array.from({ length: count }, () => "full_attention");
    return { usual: { ...config, layer_types: types ?? usual }, complete: (spec) => spec };
  },
  write: () => ({}),
};
