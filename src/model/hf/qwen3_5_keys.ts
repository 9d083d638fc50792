/**
 * Keys of the classes of Qwen 3.5 and Qwen3-Next alone (configuration_qwen3_5.py, configuration_qwen3_next.py): which
 * layers have linear attention by the gated delta rule, and its sizes.
 */
import { z } from "zod";
import type { JsonObject } from "../../io/files/json.ts";
import { mixerLayer } from "../mixer_layers.ts";
import type { DeltaSpec } from "../mixer_spec.ts";
import { attendingLayers, DELTA_SCHEMAS, deltaKeys } from "./delta_keys.ts";
import { size } from "./limits.ts";
import { linearHeadSize, linearHeads, requireFullGroups } from "./mixer_keys.ts";
import { type OwnKeys, type OwnKeysFormat, parsedKeys } from "./own_keys.ts";

/** Defaults are those of both classes. */
const schema = z.object({
  ...DELTA_SCHEMAS,
  full_attention_interval: size.default(4),
  linear_num_key_heads: linearHeads.default(16),
  linear_num_value_heads: linearHeads.default(32),
  linear_key_head_dim: linearHeadSize.default(128),
  linear_value_head_dim: linearHeadSize.default(128),
});

type DeltaConfig = z.infer<typeof schema>;

/** The format of both classes. */
export const DELTA_KEYS: OwnKeysFormat = { read: readDeltaKeys, write: deltaKeys };

/** @throws GpruneError BAD_CONFIG for values out of range, or a list that does not name all layers */
function readDeltaKeys(config: JsonObject, where: string): OwnKeys {
  const { layer_types: _, ...usual } = config;
  const keys = parsedKeys(schema, config, where);
  const delta = deltaOf(keys, where);
  const isUsual = (index: number): boolean => (index + 1) % keys.full_attention_interval === 0;
  const attends = attendingLayers(keys, isUsual, where);
  return {
    usual,
    complete: (spec) => ({
      ...spec,
      layers: spec.layers.map((layer, index) => (attends[index] ? layer : mixerLayer(delta, layer))),
    }),
  };
}

function deltaOf(config: DeltaConfig, where: string): DeltaSpec {
  const { linear_num_key_heads: keyHeads, linear_num_value_heads: valueHeads } = config;
  requireFullGroups({ valueHeads, keyHeads }, ["linear_num_value_heads", "linear_num_key_heads"], where);
  return {
    type: "delta",
    length: config.linear_conv_kernel_dim,
    keyHeads,
    valueHeads,
    keyDim: config.linear_key_head_dim,
    valueDim: config.linear_value_head_dim,
  };
}
