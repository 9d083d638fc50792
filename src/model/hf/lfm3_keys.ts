/**
 * Keys of LFM3's class alone (configuration_lfm3.py): layers with a convolution, a window or neither, and rotations by
 * type of layer.
 */
import { z } from "zod";
import type { JsonObject } from "../../io/files/json.ts";
import { convolutionsOf, mixerLayer } from "../mixer_layers.ts";
import type { ModelSpec } from "../spec.ts";
import { MAX_LAYERS, size } from "./limits.ts";
import { filterLength, requireAttention, requireEveryLayer } from "./mixer_keys.ts";
import { type OwnKeys, type OwnKeysFormat, parsedKeys } from "./own_keys.ts";
import { ROTATION_KEYS, requireRotations } from "./rotations_by_type.ts";

/** Defaults are those of the class. */
const schema = z.object({
  layer_types: z.array(z.enum(["conv", "sliding_attention", "full_attention"])).nullish(),
  num_hidden_layers: size.max(MAX_LAYERS),
  conv_L_cache: filterLength.default(7),
  conv_bias: z.boolean().default(false),
  sliding_window: size.default(256),
  ...ROTATION_KEYS,
});

type LayerType = NonNullable<z.infer<typeof schema>["layer_types"]>[number];

/** Rotations of the class. */
const ROPE_PARAMETERS = {
  sliding_attention: { rope_type: "default", rope_theta: 10_000 },
  full_attention: { rope_type: "proportional", partial_rotary_factor: 0.5, rope_theta: 1_000_000 },
} as const;

export const LFM3_KEYS: OwnKeysFormat = { read: readKeys, write: keysOf };

/**
 * @throws GpruneError BAD_CONFIG for values out of range, a list that does not name all layers, or a type of layers
 *   without a rotation
 */
function readKeys(config: JsonObject, where: string): OwnKeys {
  const own = parsedKeys(schema, config, where);
  const { layer_types: named, num_hidden_layers: count } = own;
  requireEveryLayer({ layer_types: named }, count, where);
  const types = Array.from({ length: count }, (_, index) => named?.[index] ?? usualType(index));
  const attending = types.filter((type) => type !== "conv");
  requireAttention(
    types.map((type) => type !== "conv"),
    "convolutions",
    where,
  );
  requireRotations(own.rope_parameters, attending, where);
  const convolution = { type: "convolution", length: own.conv_L_cache, biases: own.conv_bias } as const;
  return {
    usual: {
      ...config,
      layer_types: types.map((type) => (type === "conv" ? "full_attention" : type)),
      rope_parameters: own.rope_parameters ?? ROPE_PARAMETERS,
      // The class has no other activation.
      hidden_act: "silu",
    },
    complete: (spec) => ({
      ...spec,
      layers: spec.layers.map((layer, index) =>
        types[index] === "conv" ? mixerLayer(convolution, layer) : layer,
      ),
    }),
  };
}

function usualType(index: number): LayerType {
  if (index % 4 === 2) return "full_attention";
  return index % 4 === 0 && index > 0 ? "sliding_attention" : "conv";
}

function keysOf({ layers }: ModelSpec): JsonObject {
  const [{ length, biases } = { length: 7, biases: false }] = convolutionsOf({ layers });
  const attention = (window: number | null): LayerType => (window ? "sliding_attention" : "full_attention");
  return {
    layer_types: layers.map(({ mixer, window }) => (mixer ? "conv" : attention(window))),
    conv_L_cache: length,
    conv_bias: biases,
  };
}
