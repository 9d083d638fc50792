/**
 * Keys of Laguna's class alone (configuration_laguna.py): what gates are for, query heads by layer, and rotations by
 * type of layer.
 */
import { z } from "zod";
import { GpruneError } from "../../errors.ts";
import type { JsonObject } from "../../io/files/json.ts";
import { type ModelSpec, queryHeads } from "../spec.ts";
import { layerKey, MAX_LAYERS, size } from "./limits.ts";
import { requireEveryLayer } from "./mixer_keys.ts";
import { type OwnKeys, type OwnKeysFormat, parsedKeys } from "./own_keys.ts";
import { ROTATION_KEYS, requireRotations } from "./rotations_by_type.ts";

const PER_HEAD = "per-head";
const PER_CHANNEL = "per-element";

/** Defaults are those of the class, to which `true` means a gate for each head. */
const schema = z.object({
  num_hidden_layers: size.max(MAX_LAYERS),
  layer_types: z.array(z.enum(["sliding_attention", "full_attention"])).nullish(),
  sliding_window: z.union([size, z.literal(0)]).default(512),
  num_attention_heads_per_layer: z.array(size).nullish(),
  gating: z
    .union([z.literal(true), z.enum([PER_HEAD, PER_CHANNEL])], {
      error: `expected gating true, "${PER_HEAD}" or "${PER_CHANNEL}"`,
    })
    .default(true),
  gating_types: z.array(z.enum(["per_head", "per_element"])).nullish(),
  per_layer_config: z.record(layerKey, z.looseObject({})).nullish(),
  ...ROTATION_KEYS,
});

type LagunaConfig = z.infer<typeof schema>;

/** Rotations of the class. */
const ROPE_PARAMETERS = {
  full_attention: { rope_type: "default", rope_theta: 500_000, partial_rotary_factor: 0.5 },
  sliding_attention: { rope_type: "default", rope_theta: 10_000, partial_rotary_factor: 1 },
} as const;

export const LAGUNA_ATTENTION: OwnKeysFormat = { read: readKeys, write: keysOf };

/**
 * @throws GpruneError BAD_CONFIG for values out of range, lists that do not name all layers, windows without a length,
 *   gates that two keys call by different names, or a type of layers without a rotation
 */
function readKeys(config: JsonObject, where: string): OwnKeys {
  const own = parsedKeys(schema, config, where);
  const { layer_types: named, num_attention_heads_per_layer: heads, num_hidden_layers: count } = own;
  requireEveryLayer({ layer_types: named, num_attention_heads_per_layer: heads }, count, where);
  const types = Array.from({ length: count }, (_, layer) => named?.[layer] ?? "full_attention");
  requireRotations(own.rope_parameters, types, where);
  if (own.sliding_window === 0 && types.includes("sliding_attention")) {
    throw new GpruneError("BAD_CONFIG", `${where}: expected a length as sliding_window, got 0`);
  }
  const isPerChannel = own.gating === PER_CHANNEL;
  requireSameGates(own, where);
  // The class reads this one by type of layer alone.
  const { partial_rotary_factor: _, ...usual } = config;
  return {
    usual: {
      ...usual,
      layer_types: types,
      rope_parameters: own.rope_parameters ?? ROPE_PARAMETERS,
      ...(heads && { per_layer_config: widthsOf(heads, own) }),
    },
    complete: (spec) => ({ ...spec, ...(isPerChannel && { gatedAttention: "gate_proj" }) }),
  };
}

/** llama.cpp takes `gating_types` for what counts, transformers and vLLM `gating`. */
function requireSameGates({ gating, gating_types: types }: LagunaConfig, where: string): void {
  const expected = gating === PER_CHANNEL ? "per_element" : "per_head";
  const other = types?.find((type) => type !== expected);
  if (other === undefined) return;
  const got = `${other}, and gating ${JSON.stringify(gating)}`;
  throw new GpruneError("BAD_CONFIG", `${where}: expected gating_types ${expected}, got ${got}`);
}

function widthsOf(
  heads: readonly number[],
  { per_layer_config: given, num_hidden_layers: layers }: LagunaConfig,
): JsonObject {
  const entries = heads.slice(0, layers).map((count, layer) => {
    return [String(layer), { num_attention_heads: count, ...given?.[String(layer)] }] as const;
  });
  return Object.fromEntries(entries);
}

function keysOf({ layers, gatedAttention }: ModelSpec): JsonObject {
  return {
    gating: gatedAttention === "gate_proj" ? PER_CHANNEL : PER_HEAD,
    num_attention_heads_per_layer: layers.map(queryHeads),
    // The class refuses null.
    ...(layers.every(({ window }) => window === null) && { sliding_window: 0 }),
    // vLLM's class has a key of its own for biases of queries, keys and values.
    qkv_bias: layers.some(({ biases }) => biases.includes("q_proj")),
  };
}
