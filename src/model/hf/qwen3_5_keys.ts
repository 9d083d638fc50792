/**
 * Keys of the classes of Qwen 3.5 and Qwen3-Next alone (configuration_qwen3_5.py, configuration_qwen3_next.py): which
 * layers have linear attention by the gated delta rule, and its sizes.
 */
import { z } from "zod";
import { GpruneError } from "../../errors.ts";
import type { JsonObject } from "../../io/files/json.ts";
import { deltasOf, mixerLayer } from "../mixer_layers.ts";
import type { DeltaSpec } from "../mixer_spec.ts";
import type { ModelSpec } from "../spec.ts";
import { MAX_LAYERS, size } from "./limits.ts";
import {
  filterLength,
  linearHeadSize,
  linearHeads,
  requireAttention,
  requireEveryLayer,
} from "./mixer_keys.ts";
import { type OwnKeys, type OwnKeysFormat, parsedKeys } from "./own_keys.ts";

/** Defaults are those of both classes. */
const schema = z.object({
  layer_types: z.array(z.enum(["full_attention", "linear_attention"])).nullish(),
  full_attention_interval: size.default(4),
  num_hidden_layers: size.max(MAX_LAYERS),
  linear_conv_kernel_dim: filterLength.default(4),
  linear_num_key_heads: linearHeads.default(16),
  linear_num_value_heads: linearHeads.default(32),
  linear_key_head_dim: linearHeadSize.default(128),
  linear_value_head_dim: linearHeadSize.default(128),
  hidden_act: z
    .literal(["silu", "swish"], { error: "expected silu, as filters of linear attention have it" })
    .default("silu"),
});

type DeltaConfig = z.infer<typeof schema>;

/** The format of both classes. */
export const DELTA_KEYS: OwnKeysFormat = { read: readDeltaKeys, write: writtenDeltaKeys };

/** @throws GpruneError BAD_CONFIG for values out of range, or a list that does not name all layers */
function readDeltaKeys(config: JsonObject, where: string): OwnKeys {
  const { layer_types: _, ...usual } = config;
  const keys = parsedKeys(schema, config, where);
  const delta = deltaOf(keys, where);
  const attends = attendingLayers(keys, where);
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
  if (valueHeads % keyHeads !== 0) {
    const expected = `linear_num_value_heads divisible by linear_num_key_heads, ${keyHeads}`;
    throw new GpruneError("BAD_CONFIG", `${where}: expected ${expected}, got ${valueHeads}`);
  }
  return {
    type: "delta",
    length: config.linear_conv_kernel_dim,
    keyHeads,
    valueHeads,
    keyDim: config.linear_key_head_dim,
    valueDim: config.linear_value_head_dim,
  };
}

/** Whether each layer has attention. */
function attendingLayers(
  { layer_types: types, full_attention_interval: every, num_hidden_layers: count }: DeltaConfig,
  where: string,
): readonly boolean[] {
  requireEveryLayer({ layer_types: types }, count, where);
  const attends = Array.from({ length: count }, (_, index) =>
    types ? types[index] === "full_attention" : (index + 1) % every === 0,
  );
  requireAttention(attends, "linear attention", where);
  return attends;
}

/** The keys for a model. */
function writtenDeltaKeys({ layers }: ModelSpec): JsonObject {
  const [delta] = deltasOf({ layers });
  return {
    layer_types: layers.map(({ mixer }) => (mixer ? "linear_attention" : "full_attention")),
    ...(delta !== undefined && {
      linear_conv_kernel_dim: delta.length,
      linear_num_key_heads: delta.keyHeads,
      linear_num_value_heads: delta.valueHeads,
      linear_key_head_dim: delta.keyDim,
      linear_value_head_dim: delta.valueDim,
    }),
  };
}
