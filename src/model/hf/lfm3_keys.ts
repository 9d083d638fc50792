/**
 * Keys of LFM3's class alone (configuration_lfm3.py): layers with a convolution, a window or neither, and rotations by
 * type of layer.
 */
import { z } from "zod";
import type { JsonObject } from "../../io/files/json.ts";
import type { ModelSpec } from "../spec.ts";
import { convolutionKeys, convolutionSchemas, convolutionsIn } from "./convolution_keys.ts";
import { MAX_LAYERS, size } from "./limits.ts";
import { requireEveryLayer } from "./mixer_keys.ts";
import { type OwnKeys, type OwnKeysFormat, parsedKeys } from "./own_keys.ts";
import { type AttentionType, ROTATION_KEYS, requireRotations } from "./rotations_by_type.ts";

/** Tokens of a filter where config.json has none. */
const FILTER_LENGTH = 7;

/** Defaults are those of the class. */
const schema = z.object({
  layer_types: z.array(z.enum(["conv", "sliding_attention", "full_attention"])).nullish(),
  num_hidden_layers: size.max(MAX_LAYERS),
  ...convolutionSchemas(FILTER_LENGTH),
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
  const isAttention = (type: LayerType): type is AttentionType => type !== "conv";
  const complete = convolutionsIn(own, types.map(isAttention), where);
  requireRotations(own.rope_parameters, types.filter(isAttention), where);
  return {
    usual: {
      ...config,
      layer_types: types.map((type) => (isAttention(type) ? type : "full_attention")),
      rope_parameters: own.rope_parameters ?? ROPE_PARAMETERS,
      // The class has no other activation.
      hidden_act: "silu",
    },
    complete,
  };
}

function usualType(index: number): LayerType {
  if (index % 4 === 2) return "full_attention";
  return index % 4 === 0 && index > 0 ? "sliding_attention" : "conv";
}

function keysOf(spec: ModelSpec): JsonObject {
  const attention = (window: number | null): LayerType => (window ? "sliding_attention" : "full_attention");
  return {
    layer_types: spec.layers.map(({ mixer, window }) => (mixer ? "conv" : attention(window))),
    ...convolutionKeys(spec, FILTER_LENGTH),
  };
}
