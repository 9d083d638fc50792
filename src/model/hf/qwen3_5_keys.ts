/**
 * Keys of Qwen 3.5's class alone (configuration_qwen3_5.py): which layers have linear attention by the gated delta rule,
 * and its sizes.
 */
import { z } from "zod";
import { wrongValues } from "../../base/wrong_values.ts";
import { GpruneError } from "../../errors.ts";
import {
  type DeltaSpec,
  deltasOf,
  FILTER_LENGTHS,
  type ModelSpec,
  mixerLayer,
  STATE_LIMITS,
} from "../spec.ts";
import { MAX_LAYERS, size } from "./limits.ts";
import type { OwnKeys } from "./own_keys.ts";

type JsonObject = Readonly<Record<string, unknown>>;

const heads = size.max(STATE_LIMITS.heads);
const channels = size.max(STATE_LIMITS.channels);

/** Defaults are those of the class. */
const schema = z.object({
  layer_types: z.array(z.enum(["full_attention", "linear_attention"])).nullish(),
  full_attention_interval: size.default(4),
  num_hidden_layers: size.max(MAX_LAYERS).default(32),
  linear_conv_kernel_dim: z.int().min(FILTER_LENGTHS.least).max(FILTER_LENGTHS.most).default(4),
  linear_num_key_heads: heads.default(16),
  linear_num_value_heads: heads.default(32),
  linear_key_head_dim: channels.default(128),
  linear_value_head_dim: channels.default(128),
  hidden_act: z
    .literal(["silu", "swish"], { error: "expected silu, as filters of linear attention have it" })
    .default("silu"),
});

type Qwen35Config = z.infer<typeof schema>;

/** @throws GpruneError BAD_CONFIG for values out of range, or a list that does not name all layers */
export function readQwen35Keys(config: JsonObject, where: string): OwnKeys {
  const { layer_types: _, ...usual } = config;
  const result = schema.safeParse(config);
  if (!result.success) throw new GpruneError("BAD_CONFIG", `${where}: ${wrongValues(result.error)}`);
  const delta = deltaOf(result.data, where);
  const attends = attendingLayers(result.data, where);
  return {
    usual,
    complete: (spec) => ({
      ...spec,
      layers: spec.layers.map((layer, index) => (attends[index] ? layer : mixerLayer(delta, layer))),
    }),
  };
}

function deltaOf(config: Qwen35Config, where: string): DeltaSpec {
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
  { layer_types: types, full_attention_interval: every, num_hidden_layers: count }: Qwen35Config,
  where: string,
): readonly boolean[] {
  if (types && types.length < count) {
    const message = `${where}: expected layer_types with an entry for every layer, got ${types.length}`;
    throw new GpruneError("BAD_CONFIG", message);
  }
  const attends = Array.from({ length: count }, (_, index) =>
    types ? types[index] === "full_attention" : (index + 1) % every === 0,
  );
  if (attends.includes(true)) return attends;
  throw new GpruneError(
    "BAD_CONFIG",
    `${where}: expected a layer with attention, got linear attention alone`,
  );
}

/** The keys for a model. */
export function qwen35Keys({ layers }: ModelSpec): JsonObject {
  const [delta] = deltasOf({ layers });
  return {
    layer_types: layers.map(({ mixer }) => (mixer ? "linear_attention" : "full_attention")),
    attn_output_gate: true,
    ...(delta !== undefined && {
      linear_conv_kernel_dim: delta.length,
      linear_num_key_heads: delta.keyHeads,
      linear_num_value_heads: delta.valueHeads,
      linear_key_head_dim: delta.keyDim,
      linear_value_head_dim: delta.valueDim,
    }),
  };
}
