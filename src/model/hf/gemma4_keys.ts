/**
 * Keys of Gemma 4's class alone (configuration_gemma4.py): heads of layers without a window, layers that take keys and
 * values from others, values that are keys, and inputs of layers.
 */
import { z } from "zod";
import { GpruneError } from "../../errors.ts";
import type { JsonObject } from "../../io/files/json.ts";
import { type KvSharing, type LayerSpec, type ModelSpec, ofLayer } from "../spec.ts";
import { layerKey, MAX_LAYERS, size } from "./limits.ts";
import { requireEveryLayer } from "./mixer_keys.ts";
import { type OwnKeys, parsedKeys } from "./own_keys.ts";

type LayerType = "sliding_attention" | "full_attention";

const rotation = z.looseObject({ rope_theta: z.number().nullish() }).nullish();

/** Defaults are those of the class. */
const schema = z.object({
  layer_types: z.array(z.enum(["sliding_attention", "full_attention"])).nullish(),
  num_hidden_layers: size.max(MAX_LAYERS).default(30),
  intermediate_size: size.default(9216),
  head_dim: size.default(256),
  global_head_dim: size.nullish(),
  num_key_value_heads: size.default(4),
  num_global_key_value_heads: size.nullish(),
  attention_k_eq_v: z.boolean().default(false),
  num_kv_shared_layers: z.int().nonnegative().max(MAX_LAYERS).default(0),
  hidden_size_per_layer_input: z
    .union([size, z.literal(0)])
    .nullable()
    .default(256),
  vocab_size_per_layer_input: size.default(262_144),
  use_double_wide_mlp: z.boolean().default(false),
  enable_moe_block: z
    .literal(false, { error: "expected no experts; mixtures of experts are not supported" })
    .default(false),
  use_bidirectional_attention: z
    .literal("vision", { error: "expected causal attention; bidirectional attention is not supported" })
    .nullish(),
  per_layer_config: z.record(layerKey, z.looseObject({})).nullish(),
  layer_widths: z.record(layerKey, z.looseObject({})).nullish(),
  sliding_window: size.default(512),
  rope_parameters: z.looseObject({ full_attention: rotation, sliding_attention: rotation }).nullish(),
  rope_scaling: z
    .null({ error: "expected rope_parameters alone: the class takes rope_scaling for all of them" })
    .optional(),
});

type Gemma4Config = z.infer<typeof schema>;

/** `head_dim` of layers without a window where config.json has none. */
const GLOBAL_HEAD_DIM = 512;

/** Rotations of the class. */
const ROPE_PARAMETERS = {
  sliding_attention: { rope_type: "default", rope_theta: 10_000 },
  full_attention: { rope_type: "proportional", partial_rotary_factor: 0.25, rope_theta: 1_000_000 },
} as const;

/**
 * @throws GpruneError BAD_CONFIG for values out of range, a list that does not name all layers, a type of layers
 *   without a rotation, or layers that are to take keys and values from one that is not there
 */
export function readGemma4Keys(config: JsonObject, where: string): OwnKeys {
  const { use_bidirectional_attention: _, layer_widths: __, ...others } = config;
  const own = parsedKeys(schema, config, where);
  const types = layerTypes(own, where);
  requireRotations(own, types, where);
  const sharing = sharingOf(own, types, where);
  const sizes = own.hidden_size_per_layer_input;
  return {
    usual: {
      ...others,
      layer_types: types,
      head_dim: own.head_dim,
      num_key_value_heads: own.num_key_value_heads,
      rope_parameters: own.rope_parameters ?? ROPE_PARAMETERS,
      per_layer_config: layerWidths(own, { types, sharing }),
    },
    complete: (spec) => ({
      ...spec,
      layers: spec.layers.map((layer, index) =>
        completed(layer, {
          kvSharing: sharing[index],
          valuesAreKeys: own.attention_k_eq_v && types[index] === "full_attention",
        }),
      ),
      perLayerInputs: sizes ? { size: sizes, vocabSize: own.vocab_size_per_layer_input } : null,
    }),
  };
}

/** The types of all layers; the class makes the last one see everything. */
function layerTypes(
  { layer_types: named, num_hidden_layers: count }: Gemma4Config,
  where: string,
): readonly LayerType[] {
  requireEveryLayer(named, count, where);
  return Array.from({ length: count }, (_, index) => {
    if (index + 1 === count) return "full_attention";
    return named?.[index] ?? ((index + 1) % 6 === 0 ? "full_attention" : "sliding_attention");
  });
}

/** The class has rotations of all types of layers from the file, or none (`Gemma4TextRotaryEmbedding`). */
function requireRotations(
  { rope_parameters: given }: Gemma4Config,
  types: readonly LayerType[],
  where: string,
): void {
  const missing = given && types.find((type) => !given[type]?.rope_theta);
  if (!missing) return;
  const got = given[missing] ? "none with rope_theta" : "none";
  throw new GpruneError("BAD_CONFIG", `${where}: expected rope_parameters of ${missing}, got ${got}`);
}

/** What layers share: the last ones read keys and values of the last layer of their type before them. */
function sharingOf(
  { num_kv_shared_layers: shared }: Gemma4Config,
  types: readonly LayerType[],
  where: string,
): readonly (KvSharing | undefined)[] {
  const first = types.length - shared;
  const sourceOf = (type: LayerType): number => types.slice(0, Math.max(0, first)).lastIndexOf(type);
  const missing = types.slice(Math.max(0, first)).find((type) => sourceOf(type) < 0);
  if (missing !== undefined) {
    const expected = `a layer with ${missing} before the last ${shared}, which take its keys and values`;
    throw new GpruneError("BAD_CONFIG", `${where}: num_kv_shared_layers: expected ${expected}, got none`);
  }
  const sources = types.slice(first).map(sourceOf);
  return types.map((type, index) => {
    if (index >= first) return { role: "reader", source: sourceOf(type) };
    return sources.includes(index) ? { role: "source" } : undefined;
  });
}

/**
 * The widths of layers where they are not those of all, as `per_layer_config` has them: in files with that key, heads
 * are as it says, and in ours as `layer_widths` does.
 */
function layerWidths(
  config: Gemma4Config,
  {
    types,
    sharing,
  }: { readonly types: readonly LayerType[]; readonly sharing: readonly (KvSharing | undefined)[] },
): JsonObject {
  const { num_global_key_value_heads: heads, intermediate_size: neurons, per_layer_config: given } = config;
  const global = {
    head_dim: config.global_head_dim ?? GLOBAL_HEAD_DIM,
    ...(config.attention_k_eq_v && heads && { num_key_value_heads: heads }),
  };
  return Object.fromEntries(
    types.map((type, index) => {
      const isWide = config.use_double_wide_mlp && sharing[index]?.role === "reader";
      const usual = type === "full_attention" ? global : {};
      const widths = given ? given[String(index)] : usual;
      const pruned = config.layer_widths?.[String(index)];
      return [String(index), { ...(isWide && { intermediate_size: 2 * neurons }), ...widths, ...pruned }];
    }),
  );
}

function completed(
  layer: LayerSpec,
  {
    kvSharing,
    valuesAreKeys,
  }: { readonly kvSharing: KvSharing | undefined; readonly valuesAreKeys: boolean },
): LayerSpec {
  const extended: LayerSpec = {
    ...layer,
    ...(kvSharing && { kvSharing }),
    ...(valuesAreKeys && kvSharing?.role !== "reader" && { valuesAreKeys }),
  };
  return { ...extended, biases: ofLayer(layer.biases, extended) };
}

/** The keys for a model. */
export function gemma4Keys(spec: ModelSpec, remoteCode: boolean): JsonObject {
  const { layers, headDim, perLayerInputs } = spec;
  const global = layers.find(({ window }) => window === null);
  const local = layers.find(({ window }) => window !== null) ?? layers[0]!;
  const readers = layers.filter(({ kvSharing }) => kvSharing?.role === "reader");
  const valuesAreKeys = layers.some((layer) => layer.valuesAreKeys);
  const [plain] = layers.filter((layer) => !readers.includes(layer));
  const isWide = !remoteCode && readers.length > 0 && readers[0]!.neurons === 2 * plain!.neurons;
  return {
    global_head_dim: global?.headDim ?? headDim,
    num_key_value_heads: local.kvGroups,
    num_global_key_value_heads: valuesAreKeys ? global!.kvGroups : null,
    attention_k_eq_v: valuesAreKeys,
    num_kv_shared_layers: readers.length,
    hidden_size_per_layer_input: perLayerInputs?.size ?? 0,
    ...(perLayerInputs !== null && { vocab_size_per_layer_input: perLayerInputs.vocabSize }),
    use_double_wide_mlp: isWide,
    ...(isWide && { intermediate_size: plain!.neurons }),
    enable_moe_block: false,
  };
}
