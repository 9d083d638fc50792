/** Keys of Mamba 2 that the classes of several families have alike. */
import { z } from "zod";
import { GpruneError } from "../../errors.ts";
import type { JsonObject } from "../../io/files/json.ts";
import type { Mamba2Spec } from "../mixer_spec.ts";
import { size } from "./limits.ts";
import { filterLength, linearHeadSize, linearHeads, requireFullGroups } from "./mixer_keys.ts";

/** Defaults are those of the classes. */
export const mamba2Schema: z.ZodObject<{
  mamba_n_heads: z.ZodDefault<z.ZodInt>;
  mamba_n_groups: z.ZodDefault<z.ZodInt>;
  mamba_d_state: z.ZodDefault<z.ZodInt>;
  mamba_d_head: z.ZodDefault<z.ZodUnion<readonly [z.ZodInt, z.ZodLiteral<"auto">]>>;
  mamba_d_conv: z.ZodDefault<z.ZodInt>;
  mamba_expand: z.ZodDefault<z.ZodInt>;
  mamba_conv_bias: z.ZodDefault<z.ZodBoolean>;
  mamba_proj_bias: z.ZodDefault<z.ZodBoolean>;
  hidden_act: z.ZodDefault<z.ZodLiteral<"silu" | "swish">>;
}> = z.object({
  mamba_n_heads: linearHeads.default(128),
  mamba_n_groups: linearHeads.default(1),
  mamba_d_state: linearHeadSize.default(256),
  mamba_d_head: z.union([linearHeadSize, z.literal("auto")]).default("auto"),
  mamba_d_conv: filterLength.default(4),
  mamba_expand: size.default(2),
  mamba_conv_bias: z.boolean().default(true),
  mamba_proj_bias: z.boolean().default(false),
  hidden_act: z
    .literal(["silu", "swish"], { error: "expected silu, as filters of Mamba 2 have it" })
    .default("silu"),
});

/**
 * Mamba 2 as a configuration has it.
 * @param size - channels of all heads together, and what makes them so, for the message
 * @throws GpruneError BAD_CONFIG for sizes that do not fit each other
 */
export function mamba2Of(
  config: z.infer<typeof mamba2Schema>,
  { values, what }: { readonly values: number; readonly what: string },
  where: string,
): Mamba2Spec {
  const { mamba_n_heads: valueHeads, mamba_n_groups: keyHeads } = config;
  const valueDim = config.mamba_d_head === "auto" ? Math.floor(values / valueHeads) : config.mamba_d_head;
  if (valueHeads * valueDim !== values) {
    throw new GpruneError(
      "BAD_CONFIG",
      `${where}: expected mamba_n_heads times mamba_d_head ${values}, ${what}, got ${valueHeads} times ${valueDim}`,
    );
  }
  requireFullGroups({ valueHeads, keyHeads }, ["mamba_n_heads", "mamba_n_groups"], where);
  return {
    type: "mamba2",
    ...{ length: config.mamba_d_conv, keyHeads, valueHeads, keyDim: config.mamba_d_state, valueDim },
    biases: config.mamba_proj_bias,
    filterBiases: config.mamba_conv_bias,
  };
}

/** The keys for Mamba 2, but those of its width. */
export function mamba2Keys(mamba: Mamba2Spec): JsonObject {
  return {
    mamba_n_heads: mamba.valueHeads,
    mamba_n_groups: mamba.keyHeads,
    mamba_d_state: mamba.keyDim,
    mamba_d_head: mamba.valueDim,
    mamba_d_conv: mamba.length,
    mamba_conv_bias: mamba.filterBiases,
    mamba_proj_bias: mamba.biases,
  };
}
