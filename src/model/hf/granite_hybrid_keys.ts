/**
 * Keys of Granite 4's class alone (configuration_granitemoehybrid.py): which layers have Mamba 2 in place of attention,
 * its sizes, whether attention is rotated, and the experts; without any, the FFN is the shared expert.
 */
import { z } from "zod";
import type { JsonObject } from "../../io/files/json.ts";
import { linearAttentionsOf, mixerLayer } from "../mixer_layers.ts";
import type { Mamba2Spec } from "../mixer_spec.ts";
import { mainRope } from "../rope_layers.ts";
import type { ModelSpec } from "../spec.ts";
import { expertKeys } from "./experts_keys.ts";
import { MAX_LAYERS, size } from "./limits.ts";
import { mamba2Keys, mamba2Of, mamba2Schema } from "./mamba2_keys.ts";
import { requireAttention, requireEveryLayer, requireUnlimitedSteps } from "./mixer_keys.ts";
import { both, byExperts, type OwnKeys, type OwnKeysFormat, parsedKeys } from "./own_keys.ts";

const layerTypes = z
  .array(z.enum(["mamba", "linear_attention", "attention", "full_attention"]))
  .max(MAX_LAYERS);

/** Defaults are those of the class. */
const schema = mamba2Schema.extend({
  layer_types: layerTypes.nullish(),
  layers_block_type: layerTypes.nullish(),
  num_hidden_layers: size.max(MAX_LAYERS),
  hidden_size: size.default(4096),
  shared_intermediate_size: size.default(1024),
  position_embedding_type: z.string().nullish(),
});

type HybridConfig = z.infer<typeof schema>;

/** The keys of layers with experts, and without. */
const WITH_EXPERTS = both(
  { read: readMixers, write: mixerKeys },
  expertKeys({
    count: "num_local_experts",
    defaults: { count: 8, active: 2, normalised: true },
    normalises: false,
    shared: { key: "shared_intermediate_size", usual: 1024 },
    own: null,
  }),
);
const WITHOUT: OwnKeysFormat = {
  read: (config, where) => {
    const mixers = readMixers(config, where);
    const { shared_intermediate_size: intermediate_size } = parsedKeys(schema, config, where);
    return { ...mixers, usual: { ...mixers.usual, intermediate_size } };
  },
  write: (spec) => ({
    ...mixerKeys(spec),
    shared_intermediate_size: Math.max(...spec.layers.map(({ neurons }) => neurons)),
    num_local_experts: 0,
    num_experts_per_tok: 0,
  }),
};

export const GRANITE_HYBRID_KEYS: OwnKeysFormat = byExperts(({ num_local_experts: count }) => count !== 0, {
  withExperts: WITH_EXPERTS,
  without: WITHOUT,
});

/**
 * @throws GpruneError UNSUPPORTED for limits of steps, BAD_CONFIG for values out of range, sizes that do not fit each
 *   other, or a list that does not name all layers
 */
function readMixers(config: JsonObject, where: string): OwnKeys {
  const { layer_types: _, layers_block_type: __, ...others } = config;
  const keys = parsedKeys(schema, config, where);
  requireUnlimitedSteps(config, where);
  const attends = attendingLayers(keys, where);
  const mamba = attends.includes(false) ? mambaOf(keys, where) : null;
  const isRotated = keys.position_embedding_type === "rope";
  return {
    usual: others,
    complete: (spec) => ({
      ...spec,
      layers: spec.layers.map((layer, index) => {
        if (!attends[index]) return mixerLayer(mamba!, layer);
        return isRotated ? layer : { ...layer, rope: null };
      }),
    }),
  };
}

function mambaOf(config: HybridConfig, where: string): Mamba2Spec {
  const { mamba_expand: expand, hidden_size: hidden } = config;
  return mamba2Of(config, { values: expand * hidden, what: `${expand} times hidden_size` }, where);
}

/** Whether each layer has attention. */
function attendingLayers(
  { layer_types, layers_block_type, num_hidden_layers: count }: HybridConfig,
  where: string,
): readonly boolean[] {
  const types = layer_types ?? layers_block_type ?? Array<"mamba">(count).fill("mamba");
  requireEveryLayer({ layer_types: types }, count, where);
  const attends = types.slice(0, count).map((type) => type === "attention" || type === "full_attention");
  requireAttention(attends, "Mamba 2", where);
  return attends;
}

/** The keys for a model, with the names of layers that all versions of transformers and vLLM know. */
function mixerKeys(spec: ModelSpec): JsonObject {
  const { layers, hiddenSize } = spec;
  const [mamba] = linearAttentionsOf(spec) as readonly Mamba2Spec[];
  return {
    layer_types: layers.map(({ mixer }) => (mixer ? "mamba" : "attention")),
    position_embedding_type: mainRope(spec) === null ? "nope" : "rope",
    // The class wants heads that divide its sizes of Mamba 2 in any case; one does.
    ...(mamba === undefined && { mamba_n_heads: 1 }),
    ...(mamba !== undefined && {
      ...mamba2Keys(mamba),
      mamba_expand: (mamba.valueHeads * mamba.valueDim) / hiddenSize,
    }),
  };
}
