/**
 * Streams of hidden states in GGUF files, both ways (gemma3n.cpp in src/models/ of llama.cpp). There, sizes of the
 * published models are constants: of the streams, of the learned residual and of layers' inputs, of layers with keys
 * and values of their own, of those whose gates are cut, and the cap of logits. So other models are not written; what
 * conversion/gemma.py writes beside them is read.
 */

import { normalQuantile, normalShare } from "../../base/normal_distribution.ts";
import { type EncodedValue, f32s, flags, u32 } from "../../io/formats/gguf_values.ts";
import type { LayerSpec, ModelSpec } from "../spec.ts";
import { type StreamUpdates, UPDATES } from "../stream_updates.ts";
import { projectionName } from "../weight_names.ts";
import type { GgufArchitecture } from "./architecture.ts";
import type { GgufKeys } from "./keys.ts";
import {
  haveUsualSources,
  INPUT_SIZE,
  ownLayers,
  SHARED_LAYERS,
  USUAL_INPUT_SIZE,
  WINDOW_PATTERN,
} from "./layer_kinds.ts";
import { ggufName } from "./names.ts";

/** What llama.cpp takes for granted. */
const FIXED = {
  streams: 4,
  residualRank: 64,
  inputSize: USUAL_INPUT_SIZE,
  /** First layers whose gates are cut, and the share that is to be 0. */
  cutLayers: 10,
  cut: 0.95,
  logitSoftcap: 30,
} as const;

/** Standard deviations above the mean at which the gates of each layer are cut; -Infinity for none. */
const CUTS = "activation_sparsity_scale";
const STREAMS = "altup.num_inputs";

/** Shares are rounded so, as their quantiles are float32. */
const SHARE_DIGITS = 1e7;

/** Streams and the learned residual; none in files of other architectures. @throws GpruneError BAD_FILE */
export function updatesOf(
  keys: GgufKeys,
  architecture: GgufArchitecture,
): { readonly updates?: StreamUpdates } {
  if (!architecture.streams) return {};
  const name = ggufName(projectionName(0, UPDATES.residualIn), architecture)!;
  const residualRank = keys.file.source.info(name)?.shape[0];
  if (residualRank === undefined) throw keys.bad(name, "a matrix", "no such tensor");
  const streams = keys.metadata.optionalNumber(keys.key(STREAMS)) ?? FIXED.streams;
  if (streams !== FIXED.streams) throw keys.bad(STREAMS, String(FIXED.streams), streams);
  return { updates: { streams, residualRank } };
}

/** What layers have where gates are cut. @throws GpruneError BAD_FILE */
export function gateCutsOf(
  keys: GgufKeys,
  architecture: GgufArchitecture,
  count: number,
): readonly Pick<LayerSpec, "gateCut">[] {
  if (!architecture.streams) return Array.from({ length: count }, () => ({}));
  const key = keys.key(CUTS);
  const scales = keys.metadata.has(key) ? keys.metadata.perLayer(key, count) : null;
  return Array.from({ length: count }, (_, layer) => {
    const share = scales === null ? usualCut(layer) : normalShare(scales[layer]!);
    const gateCut = Math.round(share * SHARE_DIGITS) / SHARE_DIGITS;
    if (gateCut === 1) throw keys.bad(CUTS, "gates that are not all cut", String(scales![layer]));
    return gateCut > 0 ? { gateCut } : {};
  });
}

function usualCut(layer: number): number {
  return layer < FIXED.cutLayers ? FIXED.cut : 0;
}

/** Metadata as llama.cpp's conversion writes it. */
export function streamEntries(
  { updates, layers, perLayerInputs }: ModelSpec,
  { streams }: GgufArchitecture,
): readonly (readonly [string, EncodedValue])[] {
  if (!streams || updates === undefined) return [];
  const scales = layers.map(({ gateCut }) =>
    gateCut === undefined ? Number.NEGATIVE_INFINITY : normalQuantile(gateCut),
  );
  return [
    ["altup.active_idx", u32(0)],
    [STREAMS, u32(updates.streams)],
    [INPUT_SIZE, u32(perLayerInputs?.size ?? 0)],
    [SHARED_LAYERS, u32(layers.length - ownLayers(layers.length))],
    [CUTS, f32s(scales)],
    [WINDOW_PATTERN, flags(layers.map(({ window }) => window !== null))],
  ];
}

/** Why llama.cpp does not compute the streams of a model, or what comes with them; null where it does. */
export function streamObstacle(
  { updates, layers, perLayerInputs, vocabSize, logitSoftcap }: ModelSpec,
  { streams }: GgufArchitecture,
): string | null {
  if (!streams) return updates === undefined ? null : "several streams of hidden states";
  if (updates?.streams !== FIXED.streams) return `other than ${FIXED.streams} streams of hidden states`;
  if (updates.residualRank !== FIXED.residualRank)
    return `a learned residual of another rank than ${FIXED.residualRank}`;
  if (perLayerInputs?.size !== FIXED.inputSize)
    return `inputs of layers of other sizes than ${FIXED.inputSize}`;
  if (perLayerInputs.vocabSize > vocabSize)
    return "a table of the layers' inputs with more rows than the embedding";
  const isUsual = layers.every(({ gateCut = 0 }, layer) => gateCut === usualCut(layer));
  if (!isUsual) return `gates cut otherwise than ${FIXED.cut} in the first ${FIXED.cutLayers} layers`;
  if (logitSoftcap !== FIXED.logitSoftcap) return `logits capped otherwise than at ${FIXED.logitSoftcap}`;
  const own = ownLayers(layers.length);
  return haveUsualSources(layers, own)
    ? null
    : `keys and values of their own in other layers than the first ${own}`;
}

/**
 * The model with all tensors that llama.cpp asks for: keys and values of layers that read those of others, which it
 * does not use, and inputs of layers for tokens that have none (images and sound).
 */
export function withAllTensors(spec: ModelSpec, { streams }: GgufArchitecture): ModelSpec {
  if (!streams || spec.perLayerInputs === null) return spec;
  const { vocabSize } = spec;
  const layers = spec.layers.map(({ kvSharing, ...layer }) =>
    kvSharing?.role === "source" ? { ...layer, kvSharing } : layer,
  );
  return { ...spec, layers, perLayerInputs: { ...spec.perLayerInputs, vocabSize } };
}
