/** What configurations have in common whose layers have attention, or linear attention by the gated delta rule. */
import { z } from "zod";
import type { JsonObject } from "../../io/files/json.ts";
import { deltasOf } from "../mixer_layers.ts";
import type { ModelSpec } from "../spec.ts";
import { MAX_LAYERS, size } from "./limits.ts";
import { filterLength, requireAttention, requireEveryLayer } from "./mixer_keys.ts";

type LayerType = "full_attention" | "linear_attention";

/** Schemas of keys that mean the same to all classes. */
export const DELTA_SCHEMAS: {
  readonly layer_types: z.ZodType<readonly LayerType[] | null | undefined>;
  readonly num_hidden_layers: z.ZodInt;
  readonly linear_conv_kernel_dim: z.ZodDefault<z.ZodInt>;
  readonly hidden_act: z.ZodType<string>;
} = {
  layer_types: z.array(z.enum(["full_attention", "linear_attention"])).nullish(),
  num_hidden_layers: size.max(MAX_LAYERS),
  linear_conv_kernel_dim: filterLength.default(4),
  hidden_act: z
    .literal(["silu", "swish"], { error: "expected silu, as filters of linear attention have it" })
    .default("silu"),
};

/**
 * Whether each layer has attention.
 * @param isUsual - whether one has where `layer_types` is absent
 * @throws GpruneError BAD_CONFIG for a list that does not name all layers, or no layer with attention
 */
export function attendingLayers(
  {
    layer_types: types,
    num_hidden_layers: count,
  }: {
    readonly layer_types?: readonly LayerType[] | null | undefined;
    readonly num_hidden_layers: number;
  },
  isUsual: (index: number) => boolean,
  where: string,
): readonly boolean[] {
  requireEveryLayer({ layer_types: types }, count, where);
  const attends = Array.from({ length: count }, (_, index) =>
    types ? types[index] === "full_attention" : isUsual(index),
  );
  requireAttention(attends, "linear attention", where);
  return attends;
}

/** The keys for a model. */
export function deltaKeys({ layers }: Pick<ModelSpec, "layers">): JsonObject {
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
