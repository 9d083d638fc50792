/**
 * Layers of two kinds, with and without a sliding window, in the metadata of GGUF files, both ways: head sizes and
 * rotations by kind, keys and values that layers share, and inputs of layers (gemma4.cpp in src/models/ of llama.cpp,
 * and the layers that it reuses, in llama-model.cpp; streams.ts has what is so in gemma3n.cpp).
 */
import { type EncodedValue, flags, u32 } from "../../io/formats/gguf_values.ts";
import { headDimOf, type KvSharing, type LayerSpec, type ModelSpec, type PerLayerInputs } from "../spec.ts";
import { PER_LAYER, projectionName, qkNormName } from "../weight_names.ts";
import type { GgufArchitecture } from "./architecture.ts";
import type { GgufKeys } from "./keys.ts";
import { ggufName, hasWeight } from "./names.ts";

/** Added to the names of keys that are those of layers with a window. */
export const WINDOWED = "_swa";
/** Whether each layer has a window. */
export const WINDOW_PATTERN = "attention.sliding_window_pattern";
/** Number of last layers that take the keys and values of earlier ones. */
export const SHARED_LAYERS = "attention.shared_kv_layers";
/** Channels of a layer's own inputs; 0 for none. */
export const INPUT_SIZE = "embedding_length_per_layer_input";

/** First layers that have keys and values of their own in a file of several streams that does not say how many. */
const USUAL_OWN = 20;
/** That size, in such a file. */
export const USUAL_INPUT_SIZE = 256;

/** First layers of so many that have keys and values of their own, in such a file. */
export function ownLayers(count: number): number {
  return Math.min(count, USUAL_OWN);
}

/** What layers without and with a window have. */
export interface ByKind<T> {
  readonly full: T;
  readonly windowed: T;
}

/**
 * The layer whose keys and values a layer takes if the first `own` layers have some of their own: the last of these
 * without a window, and the one before it for layers with one. Undefined for a layer with its own.
 */
function sourceOf(layer: number, own: number, isWindowed: boolean): number | undefined {
  return layer < own ? undefined : own - (isWindowed ? 2 : 1);
}

/** Whether all layers have their keys and values from there. */
export function haveUsualSources(layers: readonly LayerSpec[], own: number): boolean {
  return layers.every(({ kvSharing, window }, layer) => {
    const source = kvSharing?.role === "reader" ? kvSharing.source : undefined;
    return source === sourceOf(layer, own, window !== null);
  });
}

/** What a layer's keys and values are, where it is not the usual. */
type KeysAndValues = Pick<LayerSpec, "kvSharing" | "valuesAreKeys">;

/**
 * What each layer takes from others; all have keys and values of their own in files of other architectures.
 * @param layers - with their windows and heads
 * @throws GpruneError BAD_FILE for layers that would take them from a layer of the other kind, or with other heads
 */
export function keysAndValuesOf(
  keys: GgufKeys,
  architecture: GgufArchitecture,
  layers: readonly LayerSpec[],
): readonly KeysAndValues[] {
  const { twoKinds, streams } = architecture;
  if (!twoKinds && !streams) return layers.map(() => ({}));
  const usual = streams ? layers.length - ownLayers(layers.length) : 0;
  const own =
    layers.length - (keys.metadata.has(keys.key(SHARED_LAYERS)) ? keys.count(SHARED_LAYERS) : usual);
  const sources = layers.map(({ window }, layer) => sourceOf(layer, own, window !== null));
  for (const [layer, source] of sources.entries()) {
    if (source !== undefined && !areAlike(layers[layer]!, layers[source])) {
      const expected = `layer ${layer} to take keys and values from one with the same window and heads`;
      throw keys.bad(SHARED_LAYERS, expected, `layer ${source}`);
    }
  }
  return sources.map((source, layer) => {
    if (source !== undefined) return { kvSharing: { role: "reader", source } };
    const hasValues = hasWeight(keys.file.source, projectionName(layer, "v_proj"), architecture);
    const kvSharing: KvSharing = { role: "source" };
    return {
      ...(sources.includes(layer) && { kvSharing }),
      ...(!hasValues && { valuesAreKeys: true as const }),
    };
  });
}

function areAlike(reader: LayerSpec, source: LayerSpec | undefined): boolean {
  return source !== undefined && source.window === reader.window && source.kvGroups === reader.kvGroups;
}

/** Tensors that files may have of layers that take the keys and values of others; llama.cpp does not use them. */
export function readersTensors({ layers }: ModelSpec, architecture: GgufArchitecture): readonly string[] {
  return layers.flatMap(({ kvSharing }, layer) => {
    if (kvSharing?.role !== "reader") return [];
    const names = [
      projectionName(layer, "k_proj"),
      projectionName(layer, "v_proj"),
      qkNormName(layer, "k_norm"),
    ];
    return names.flatMap((name) => ggufName(name, architecture) ?? []);
  });
}

/** Inputs of layers. @throws GpruneError BAD_FILE where the file lacks their size, or their table */
export function perLayerInputsOf(keys: GgufKeys, architecture: GgufArchitecture): PerLayerInputs | null {
  const { twoKinds, streams } = architecture;
  const isUsual = streams && !keys.metadata.has(keys.key(INPUT_SIZE));
  const size = isUsual ? USUAL_INPUT_SIZE : twoKinds || streams ? keys.count(INPUT_SIZE) : 0;
  if (size === 0) return null;
  const table = ggufName(PER_LAYER.table, architecture)!;
  const vocabSize = keys.file.source.info(table)?.shape[0];
  if (vocabSize === undefined) throw keys.bad(table, "a matrix", "no such tensor");
  return { size, vocabSize };
}

/** Head sizes by kind; both are the model's own in other models. */
export function headDimsOf(spec: ModelSpec): ByKind<number> {
  const sizeOf = (layer: LayerSpec | undefined): number =>
    layer === undefined ? spec.headDim : headDimOf(spec, layer);
  return {
    full: sizeOf(spec.layers.find(({ window }) => window === null)),
    windowed: sizeOf(spec.layers.find(({ window }) => window !== null)),
  };
}

/** Metadata of both kinds, beside that which all files have. */
export function kindEntries(
  spec: ModelSpec,
  { twoKinds }: GgufArchitecture,
): readonly (readonly [string, EncodedValue])[] {
  if (!twoKinds) return [];
  const { layers, perLayerInputs } = spec;
  const { windowed } = headDimsOf(spec);
  const rope = layers.find(({ window }) => window !== null)?.rope;
  return [
    [`attention.key_length${WINDOWED}`, u32(windowed)],
    [`attention.value_length${WINDOWED}`, u32(windowed)],
    [`rope.dimension_count${WINDOWED}`, u32(rope?.rotaryDim ?? windowed)],
    [WINDOW_PATTERN, flags(layers.map(({ window }) => window !== null))],
    [SHARED_LAYERS, u32(layers.filter(({ kvSharing }) => kvSharing?.role === "reader").length)],
    [INPUT_SIZE, u32(perLayerInputs?.size ?? 0)],
  ];
}

/** Why llama.cpp cannot have the layers of a model as its two kinds; null where it can. */
export function kindObstacle(spec: ModelSpec): string | null {
  const { layers, perLayerInputs, vocabSize } = spec;
  const windows = new Set(layers.flatMap(({ window }) => window ?? []));
  if (windows.size !== 1)
    return windows.size === 0 ? "layers without sliding windows" : "sliding windows of several lengths";
  const { full, windowed } = headDimsOf(spec);
  if (layers.some((layer) => headDimOf(spec, layer) !== (layer.window === null ? full : windowed)))
    return "heads of several sizes in layers with windows alike, or without";
  const own = layers.filter(({ kvSharing }) => kvSharing?.role !== "reader").length;
  if (own < 2) return "fewer than two layers with keys and values of their own";
  if (!haveUsualSources(layers, own))
    return "shared keys and values of other layers than the last two that have their own";
  return perLayerInputs === null || perLayerInputs.vocabSize === vocabSize
    ? null
    : "a table of the layers' inputs with other rows than the embedding";
}
