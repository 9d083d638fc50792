/**
 * Keys of OLMo Hybrid's class alone (configuration_olmo_hybrid.py): which layers have linear attention by the gated delta
 * rule, and its sizes. In these layers norms are on the inputs of blocks, in the others on their outputs. Attention is
 * not rotated where the base of the rotation is null.
 */
import { z } from "zod";
import { GpruneError } from "../../errors.ts";
import type { JsonObject } from "../../io/files/json.ts";
import { deltasOf, mixerLayer } from "../mixer_layers.ts";
import type { DeltaSpec } from "../mixer_spec.ts";
import type { LayerSpec, ModelSpec } from "../spec.ts";
import { attendingLayers, DELTA_SCHEMAS, deltaKeys } from "./delta_keys.ts";
import { size } from "./limits.ts";
import { linearHeadSize, linearHeads, requireFullGroups } from "./mixer_keys.ts";
import { type OwnKeys, type OwnKeysFormat, parsedKeys } from "./own_keys.ts";

/** Epsilon of the norm of linear attention's outputs, which has no key (modeling_olmo_hybrid.py). */
const OUTPUT_NORM_EPS = 1e-5;

const theta = z.number().nullish();

/** Defaults are those of the class. */
const schema = z.object({
  ...DELTA_SCHEMAS,
  hidden_size: size,
  num_attention_heads: size,
  linear_num_key_heads: linearHeads.nullish(),
  linear_num_value_heads: linearHeads.nullish(),
  linear_key_head_dim: linearHeadSize.nullish(),
  linear_value_head_dim: linearHeadSize.nullish(),
  linear_allow_neg_eigval: z.boolean().default(true),
  rope_theta: theta,
  rope_parameters: z.looseObject({ rope_theta: theta }).nullish(),
});

type HybridConfig = z.infer<typeof schema>;

export const OLMO_HYBRID_KEYS: OwnKeysFormat = { read: readKeys, write: keysOf };

/**
 * @throws GpruneError BAD_CONFIG for values out of range, sizes that do not fit each other, a list that does not name
 *   all layers, or layers of one kind alone
 */
function readKeys(config: JsonObject, where: string): OwnKeys {
  const { layer_types: _, rope_parameters: rotation, rope_theta: base, ...others } = config;
  const own = parsedKeys(schema, config, where);
  const isRotated = rotates(own);
  const delta = deltaOf(own, where);
  const attends = attendingIn(own, where);
  const ofLayer = (layer: LayerSpec, index: number): LayerSpec => {
    if (!attends[index]) return mixerLayer(delta, { ...layer, norms: "before" });
    return isRotated ? layer : { ...layer, rope: null };
  };
  return {
    usual: {
      ...others,
      ...(isRotated && { rope_parameters: rotation, ...(base !== null && { rope_theta: base }) }),
    },
    complete: (spec) => ({ ...spec, layers: spec.layers.map(ofLayer) }),
  };
}

/** Whether the base of the rotation is not null, which `rope_parameters` says before the key beside it does. */
function rotates({ rope_parameters: rotation, rope_theta: base }: HybridConfig): boolean {
  return (rotation?.rope_theta === undefined ? base : rotation.rope_theta) !== null;
}

function deltaOf(config: HybridConfig, where: string): DeltaSpec {
  const keyHeads = config.linear_num_key_heads ?? config.num_attention_heads;
  const valueHeads = config.linear_num_value_heads ?? config.num_attention_heads;
  requireFullGroups({ valueHeads, keyHeads }, ["linear_num_value_heads", "linear_num_key_heads"], where);
  const keyDim = config.linear_key_head_dim ?? Math.floor((0.75 * config.hidden_size) / keyHeads);
  if (keyDim === 0) {
    const message = `${where}: expected linear_key_head_dim, or fewer heads than 3/4 of hidden_size, got ${keyHeads}`;
    throw new GpruneError("BAD_CONFIG", message);
  }
  return {
    ...{ type: "delta", length: config.linear_conv_kernel_dim, keyHeads, valueHeads, keyDim },
    valueDim: config.linear_value_head_dim ?? 2 * keyDim,
    ...(config.linear_allow_neg_eigval && { overcorrects: true }),
    normEps: OUTPUT_NORM_EPS,
  };
}

/** Whether each layer has attention: each fourth, or at least the last one. */
function attendingIn(config: HybridConfig, where: string): readonly boolean[] {
  const { num_hidden_layers: count } = config;
  const isUsual = (index: number): boolean => index % 4 === 3 || (count < 4 && index + 1 === count);
  const attends = attendingLayers(config, isUsual, where);
  if (attends.includes(false)) return attends;
  throw new GpruneError(
    "BAD_CONFIG",
    `${where}: expected a layer with linear attention, got attention alone`,
  );
}

/** The keys for a model. */
function keysOf({ layers }: ModelSpec): JsonObject {
  const isRotated = layers.some(({ rope }) => rope !== null);
  return {
    ...deltaKeys({ layers }),
    linear_allow_neg_eigval: deltasOf({ layers }).some(({ overcorrects }) => overcorrects === true),
    ...(!isRotated && { rope_theta: null, rope_parameters: { rope_type: "default", rope_theta: null } }),
  };
}
