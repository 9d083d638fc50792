/**
 * Keys of Gemma 3n's class alone (configuration_gemma3n.py): neurons and cuts of gates by layer, streams, the learned
 * residual, layers that take keys and values from others, and inputs of layers.
 */
import { z } from "zod";
import type { JsonObject } from "../../io/files/json.ts";
import { type LayerSpec, ofLayer } from "../spec.ts";
import { MAX_STREAMS } from "../stream_updates.ts";
import { sharingOf } from "./kv_sharing_keys.ts";
import { layerKey, MAX_LAYERS, size } from "./limits.ts";
import { requireEveryLayer } from "./mixer_keys.ts";
import { type OwnKeysFormat, parsedKeys } from "./own_keys.ts";

/** Defaults are those of the class. */
const schema = z.object({
  layer_types: z.array(z.enum(["sliding_attention", "full_attention"])).nullish(),
  num_hidden_layers: size.max(MAX_LAYERS),
  intermediate_size: z.union([size, z.array(size)]).default(16_384),
  head_dim: size.default(256),
  num_kv_shared_layers: z.int().nonnegative().max(MAX_LAYERS).default(15),
  hidden_size_per_layer_input: size.default(256),
  vocab_size_per_layer_input: size.default(262_144),
  altup_num_inputs: z.int().min(2).max(MAX_STREAMS).default(MAX_STREAMS),
  laurel_rank: size.default(64),
  activation_sparsity_pattern: z.array(z.number().nonnegative().lt(1)).nullish(),
  per_layer_config: z.record(layerKey, z.looseObject({ intermediate_size: size.optional() })).nullish(),
});
type Gemma3nConfig = z.infer<typeof schema>;

/** Where config.json has no list, the class cuts this share of gates in so many layers of models that have more. */
const USUAL_CUT = { share: 0.95, layers: 10 } as const;

export const GEMMA3N_KEYS: OwnKeysFormat = {
  /**
   * @throws GpruneError BAD_CONFIG for values out of range, lists that do not name all layers, or layers that are to
   *   take keys and values from one that is not there
   */
  read: (config, where) => {
    const own = parsedKeys(schema, config, where);
    const { num_hidden_layers: count, intermediate_size: neurons, activation_sparsity_pattern: cuts } = own;
    const { layer_types: types } = own;
    const lists = { layer_types: types, activation_sparsity_pattern: cuts };
    requireEveryLayer(
      Array.isArray(neurons) ? { ...lists, intermediate_size: neurons } : lists,
      count,
      where,
    );
    const layerTypes = types ?? usualTypes(count);
    const sharing = sharingOf(own.num_kv_shared_layers, layerTypes, where);
    const { activation_sparsity_pattern: _, ...others } = config;
    return {
      usual: {
        ...others,
        layer_types: layerTypes,
        head_dim: own.head_dim,
        intermediate_size: Array.isArray(neurons) ? Math.max(...neurons) : neurons,
        per_layer_config: widthsOf(own),
      },
      complete: (spec) => ({
        ...spec,
        layers: spec.layers.map((layer, index) => completed(layer, sharing[index], cutOf(own, index))),
        perLayerInputs: { size: own.hidden_size_per_layer_input, vocabSize: own.vocab_size_per_layer_input },
        updates: { streams: own.altup_num_inputs, residualRank: own.laurel_rank },
      }),
    };
  },
  write: (spec, remoteCode) => {
    const { layers, perLayerInputs, updates } = spec;
    const neurons = layers.map((layer) => layer.neurons);
    // Our modelling file takes them from `per_layer_config`.
    const isList = !remoteCode && new Set(neurons).size > 1;
    return {
      ...(isList && { intermediate_size: neurons }),
      num_kv_shared_layers: layers.filter(({ kvSharing }) => kvSharing?.role === "reader").length,
      hidden_size_per_layer_input: perLayerInputs?.size ?? null,
      vocab_size_per_layer_input: perLayerInputs?.vocabSize ?? null,
      altup_num_inputs: updates?.streams ?? null,
      laurel_rank: updates?.residualRank ?? null,
      activation_sparsity_pattern: layers.map(({ gateCut = 0 }) => gateCut),
    };
  },
};

function usualTypes(count: number): readonly ("sliding_attention" | "full_attention")[] {
  return Array.from({ length: count }, (_, index) =>
    (index + 1) % 5 === 0 ? "full_attention" : "sliding_attention",
  );
}

function cutOf(
  { activation_sparsity_pattern: cuts, num_hidden_layers: count }: Gemma3nConfig,
  layer: number,
): number {
  if (cuts) return cuts[layer]!;
  return count > USUAL_CUT.layers && layer < USUAL_CUT.layers ? USUAL_CUT.share : 0;
}

/** The widths of layers, as `per_layer_config` has them; those of files with that key are in it. */
function widthsOf({
  intermediate_size: neurons,
  per_layer_config: given,
  num_hidden_layers: count,
}: Gemma3nConfig): JsonObject {
  const widths = (index: number): JsonObject => {
    const listed = Array.isArray(neurons) ? { intermediate_size: neurons[index] } : {};
    return { ...listed, ...given?.[String(index)] };
  };
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [String(index), widths(index)]));
}

function completed(layer: LayerSpec, kvSharing: LayerSpec["kvSharing"], gateCut: number): LayerSpec {
  const extended: LayerSpec = {
    ...layer,
    ...(kvSharing && { kvSharing }),
    ...(gateCut > 0 && { gateCut }),
  };
  return { ...extended, biases: ofLayer(layer.biases, extended) };
}
