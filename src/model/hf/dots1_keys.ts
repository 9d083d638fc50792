/** Windows of dots.llm1's class (configuration_dots1.py) where `layer_types` does not name the layers that have one. */
import { z } from "zod";
import { MAX_LAYERS, size } from "./limits.ts";
import { type OwnKeysFormat, parsedKeys } from "./own_keys.ts";

/** Defaults are those of the class. */
const schema = z.object({
  layer_types: z.array(z.unknown()).nullish(),
  sliding_window: size.nullable().default(4096),
  max_window_layers: z.int().nonnegative().max(MAX_LAYERS).default(62),
  num_hidden_layers: size.max(MAX_LAYERS),
});

/** Layers from `max_window_layers` on have a window; other classes want `use_sliding_window` for that. */
export const LAST_WINDOWED: OwnKeysFormat = {
  read: (config, where) => {
    const keys = parsedKeys(schema, config, where);
    const { sliding_window: window, max_window_layers: first, num_hidden_layers: count } = keys;
    const types = Array.from({ length: count }, (_, layer) =>
      window !== null && layer >= first ? "sliding_attention" : "full_attention",
    );
    return { usual: { ...config, layer_types: keys.layer_types ?? types }, complete: (spec) => spec };
  },
  write: () => ({}),
};
