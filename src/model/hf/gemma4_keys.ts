/**
 * Keys of Gemma 4's class alone (configuration_gemma4.py): heads of layers without a window, layers that take keys and
 * values from others, values that are keys, inputs of layers, and experts beside their FFNs.
 */
import { z } from "zod";
import { GpruneError } from "../../errors.ts";
import type { JsonObject } from "../../io/files/json.ts";
import type { ExpertsSpec } from "../experts_spec.ts";
import { expertNeurons, type KvSharing, type LayerSpec, type ModelSpec, ofLayer } from "../spec.ts";
import { MAX_EXPERTS, requireExperts, ungroupedKey } from "./experts_keys.ts";
import { sharingOf } from "./kv_sharing_keys.ts";
import { layerKey, MAX_LAYERS, size } from "./limits.ts";
import { requireEveryLayer } from "./mixer_keys.ts";
import { type OwnKeys, parsedKeys } from "./own_keys.ts";
import { type AttentionType, ROTATION_KEYS, requireRotations } from "./rotations_by_type.ts";

/** Defaults are those of the class. */
const schema = z.object({
  layer_types: z.array(z.enum(["sliding_attention", "full_attention"])).nullish(),
  num_hidden_layers: size.max(MAX_LAYERS),
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
  enable_moe_block: z.boolean().default(false),
  num_experts: size.max(MAX_EXPERTS).nullish(),
  top_k_experts: size.max(MAX_EXPERTS).nullish(),
  moe_intermediate_size: size.nullish(),
  use_bidirectional_attention: z
    .literal("vision", { error: "expected causal attention; bidirectional attention is not supported" })
    .nullish(),
  per_layer_config: z.record(layerKey, z.looseObject({})).nullish(),
  layer_widths: z.record(layerKey, z.looseObject({ intermediate_size: size.optional() })).nullish(),
  sliding_window: size.default(512),
  ...ROTATION_KEYS,
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
  requireRotations(own.rope_parameters, types, where);
  const sharing = sharingOf(own.num_kv_shared_layers, types, where);
  const sizes = own.hidden_size_per_layer_input;
  const experts = expertsOf(own, where);
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
          experts: experts?.(index),
        }),
      ),
      perLayerInputs: sizes ? { size: sizes, vocabSize: own.vocab_size_per_layer_input } : null,
    }),
  };
}

/**
 * Experts of layers, and neurons of each; undefined without any.
 * @throws GpruneError BAD_CONFIG where numbers of them, or their width, are missing or impossible
 */
function expertsOf(config: Gemma4Config, where: string): ((layer: number) => Experts) | undefined {
  if (!config.enable_moe_block) return undefined;
  const { num_experts: count, top_k_experts: active, moe_intermediate_size: neurons } = config;
  const key = Object.entries({ num_experts: count, top_k_experts: active, moe_intermediate_size: neurons });
  const missing = key.find(([, value]) => !value)?.[0];
  if (!count || !active || !neurons)
    throw new GpruneError("BAD_CONFIG", `${where}: expected ${missing} beside enable_moe_block, got none`);
  const spec = {
    count,
    active,
    normalised: true,
    sharedUngated: true,
    ownNorms: true,
    ownScales: true,
  } as const;
  requireExperts(spec, "top_k_experts", where);
  return (layer) => ({ spec, neurons: config.layer_widths?.[String(layer)]?.intermediate_size ?? neurons });
}
interface Experts {
  readonly spec: ExpertsSpec;
  /** Of each. */
  readonly neurons: number;
}

/** The types of all layers; the class makes the last one see everything. */
function layerTypes(
  { layer_types: named, num_hidden_layers: count }: Gemma4Config,
  where: string,
): readonly AttentionType[] {
  requireEveryLayer({ layer_types: named }, count, where);
  return Array.from({ length: count }, (_, index) => {
    if (index + 1 === count) return "full_attention";
    return named?.[index] ?? ((index + 1) % 6 === 0 ? "full_attention" : "sliding_attention");
  });
}

/**
 * The widths of layers where they are not those of all, as `per_layer_config` has them: in files with that key, heads
 * are as it says, and in ours as `layer_widths` does, whose neurons are those of experts where there are some.
 */
function layerWidths(
  config: Gemma4Config,
  {
    types,
    sharing,
  }: { readonly types: readonly AttentionType[]; readonly sharing: readonly (KvSharing | undefined)[] },
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
      const { intermediate_size: kept, ...heads } = config.layer_widths?.[String(index)] ?? {};
      const pruned = { ...heads, ...(kept && !config.enable_moe_block && { intermediate_size: kept }) };
      return [String(index), { ...(isWide && { intermediate_size: 2 * neurons }), ...widths, ...pruned }];
    }),
  );
}

/** What a layer has beside what the usual keys say. */
interface OwnParts {
  readonly kvSharing: KvSharing | undefined;
  readonly valuesAreKeys: boolean;
  readonly experts: Experts | undefined;
}

/** A layer with what is its own; the FFN of one with experts is that of every token. */
function completed(layer: LayerSpec, { kvSharing, valuesAreKeys, experts }: OwnParts): LayerSpec {
  const { neurons: shared } = layer;
  const extended: LayerSpec = {
    ...layer,
    ...(experts && { neurons: experts.neurons * experts.spec.count, experts: { ...experts.spec, shared } }),
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
  const experts = layers[0]?.experts;
  // Our modelling file takes the widths of FFNs from `layer_widths`, but those of experts where there are some.
  const isSaid = remoteCode && experts === undefined;
  const isWide = !isSaid && readers.length > 0 && denseNeurons(readers[0]!) === 2 * denseNeurons(plain!);
  return {
    global_head_dim: global?.headDim ?? headDim,
    num_key_value_heads: local.kvGroups,
    num_global_key_value_heads: valuesAreKeys ? global!.kvGroups : null,
    attention_k_eq_v: valuesAreKeys,
    num_kv_shared_layers: readers.length,
    hidden_size_per_layer_input: perLayerInputs?.size ?? 0,
    ...(perLayerInputs !== null && { vocab_size_per_layer_input: perLayerInputs.vocabSize }),
    use_double_wide_mlp: isWide,
    ...((isWide || experts !== undefined) && { intermediate_size: denseNeurons(plain ?? layers[0]!) }),
    enable_moe_block: experts !== undefined,
    ...(experts && expertKeysOf(experts, layers)),
  };
}

/** Neurons of the FFN of every token. */
function denseNeurons({ neurons, experts }: LayerSpec): number {
  return experts === undefined ? neurons : (experts.shared ?? 0);
}

/** vLLM's class takes a model with these for one with experts. */
function expertKeysOf({ count, active }: ExpertsSpec, layers: ModelSpec["layers"]): JsonObject {
  const widths = layers.map(expertNeurons);
  return {
    num_experts: count,
    top_k_experts: active,
    moe_intermediate_size: Math.max(...widths),
    ...ungroupedKey(widths),
  };
}
