/**
 * FFNs of experts in the metadata of GGUF files, both ways (src/models/ of llama.cpp: llama.cpp, and the files of the
 * architectures in expert_architectures.ts). A file has one number of experts; expert_obstacles.ts says which models it
 * can hold.
 */
import { type EncodedValue, f32, flag, u32 } from "../../io/formats/gguf_values.ts";
import type { ExpertsSpec } from "../experts_spec.ts";
import { expertNeurons, type LayerSpec, type ModelSpec } from "../spec.ts";
import type { GgufArchitecture, GgufExperts } from "./architecture.ts";
import { EXPERT_COUNT, EXPERT_GROUPS, FFN_WIDTH, type GgufKeys } from "./keys.ts";

/** Experts of a token. */
const ACTIVE = "expert_used_count";
/** Neurons of an expert, in architectures that have a key for them. */
const WIDTH = "expert_feed_forward_length";
/** Neurons of the shared expert. */
const SHARED_WIDTH = "expert_shared_feed_forward_length";
/** The same in widths of the others. */
const SHARED_COUNT = "expert_shared_count";
/** Groups of which experts are picked. */
const ACTIVE_GROUPS = "expert_group_used_count";
/** Layers before those with experts. */
const DENSE_LAYERS = "leading_dense_block_count";
/** Layers with experts are each n-th of those after these. */
const STEP = "interleave_moe_layer_step";
/** How scores are made: enum llama_expert_gating_func_type of llama-hparams.h. */
const SCORES = "expert_gating_func";
const SOFTMAX = 1;
const SIGMOID = 2;
/** Whether routing weights add up to 1, and the factor on them. */
const NORMALISED = "expert_weights_norm";
const SCALE = "expert_weights_scale";

/** LLAMA_MAX_EXPERTS of llama.cpp. */
export const MAX_EXPERTS = 1024;

/** Scores of a group that it counts by (`build_moe_ffn` of llama-graph.cpp). */
export const BEST = 2;

/** What is said of the FFN of a layer. */
export type Ffn = Pick<LayerSpec, "neurons" | "experts">;

/**
 * The FFN of each layer.
 * @throws GpruneError BAD_FILE for impossible numbers of experts; a width may be none. UNSUPPORTED for scores of
 *   another kind, and for layers with experts of which others are between
 */
export function ffnsOf(keys: GgufKeys, architecture: GgufArchitecture, layers: number): readonly Ffn[] {
  const { experts: known, blocks } = architecture;
  const widthsOf = (name: string): readonly number[] => keys.metadata.perLayer(keys.key(name), layers);
  if (known === null) return widthsOf(FFN_WIDTH).map((neurons) => ({ neurons }));
  const experts = expertsOf(keys, known);
  const has = (name: string): boolean => keys.metadata.has(keys.key(name));
  const ffnWidths = widthsOf(FFN_WIDTH);
  const widths =
    known.ownWidth && has(WIDTH)
      ? widthsOf(WIDTH)
      : ffnWidths.map((width) => (known.ownWidth ? width / experts.active : width));
  const dense = known.afterDense && has(DENSE_LAYERS) ? keys.count(DENSE_LAYERS) : 0;
  const shared = sharedWidths(keys, known, { widths, ffnWidths });
  return widths.map((width, layer) => {
    const isOther = blocks && ffnWidths[layer] === 0;
    if (layer < dense || isOther) return { neurons: ffnWidths[layer]! };
    const own = shared[layer];
    const beside = own === undefined ? {} : sharedOf(keys, known, own);
    return { neurons: width * experts.count, experts: { ...experts, ...beside } };
  });
}

/** What experts of all layers have in common. */
function expertsOf(keys: GgufKeys, known: GgufExperts): ExpertsSpec {
  const { normalised, scores, saysScores, scaled, stepped } = known;
  const count = keys.size(EXPERT_COUNT, MAX_EXPERTS);
  const scale = scaled ? keys.factor(SCALE, 1) : 1;
  if (!saysScores) requireKnown(keys, SCORES, scores.sigmoid ? SIGMOID : null);
  requireKnown(keys, STEP, stepped ? 1 : null);
  const active = keys.size(ACTIVE, count);
  return {
    count,
    active,
    ...groupsOf(keys, known, { count, active }),
    normalised: normalised ?? keys.metadata.optionalFlag(keys.key(NORMALISED)) ?? false,
    ...scores,
    ...(saysScores && hasSigmoids(keys) && { sigmoid: true }),
    ...(scale !== 1 && { scale }),
  };
}

/** @throws GpruneError UNSUPPORTED for scores that are neither sigmoids nor by a softmax */
function hasSigmoids(keys: GgufKeys): boolean {
  const kind = keys.metadata.optionalNumber(keys.key(SCORES)) || SIGMOID;
  if (kind !== SOFTMAX) requireKnown(keys, SCORES, SIGMOID);
  return kind === SIGMOID;
}

/** @throws GpruneError BAD_FILE for groups that do not fit the experts */
function groupsOf(
  keys: GgufKeys,
  { grouped }: GgufExperts,
  experts: Pick<ExpertsSpec, "count" | "active">,
): Pick<ExpertsSpec, "groups"> {
  const count = grouped ? (keys.metadata.optionalNumber(keys.key(EXPERT_GROUPS)) ?? 0) : 0;
  if (count <= 1) return {};
  const active = keys.size(ACTIVE_GROUPS, count);
  const size = experts.count / count;
  if (!Number.isInteger(size) || size < BEST || experts.active > active * size)
    throw keys.bad(EXPERT_GROUPS, `groups that fit ${experts.active} of ${experts.count} experts`, count);
  return active === count ? {} : { groups: { count, active, best: BEST } };
}

/** @param known - the only value of a key that is supported; null where llama.cpp does not read it */
function requireKnown(keys: GgufKeys, name: string, known: number | null): void {
  const value = keys.metadata.optionalNumber(keys.key(name)) ?? known;
  if (known === null || value === known) return;
  throw keys.unsupported(name, { expected: String(known), got: value! });
}

/** Neurons of the shared experts, by layer; empty without any. */
function sharedWidths(
  keys: GgufKeys,
  { shared }: GgufExperts,
  { widths, ffnWidths }: Readonly<Record<"widths" | "ffnWidths", readonly number[]>>,
): readonly number[] {
  const { metadata } = keys;
  const said = (): readonly number[] | null =>
    metadata.has(keys.key(SHARED_WIDTH)) ? metadata.perLayer(keys.key(SHARED_WIDTH), widths.length) : null;
  switch (shared) {
    case null:
      return [];
    case "ffn":
      return ffnWidths;
    case "gated":
      return said() ?? ffnWidths;
    case "open":
      return said()?.some((width) => width !== 0) ? said()! : [];
    case "multiple": {
      const times = keys.size(SHARED_COUNT);
      return widths.map((width) => times * width);
    }
    case "counted": {
      const times = metadata.has(keys.key(SHARED_COUNT)) ? keys.count(SHARED_COUNT) : 0;
      return times === 0 ? [] : (said() ?? widths.map((width) => times * width));
    }
  }
}

/** @throws GpruneError BAD_FILE unless it is a positive integer */
function sharedOf(
  keys: GgufKeys,
  { shared, averaged }: GgufExperts,
  neurons: number,
): Pick<ExpertsSpec, "shared" | "sharedUngated" | "averaged"> {
  if (!(Number.isSafeInteger(neurons) && neurons > 0))
    throw keys.bad(SHARED_WIDTH, "a positive integer", neurons);
  return {
    shared: neurons,
    ...(shared !== "gated" && { sharedUngated: true }),
    ...(averaged && { averaged: true }),
  };
}

/**
 * What the key of FFNs' widths says: the neurons of those of every token, where layers have them beside experts, or of
 * layers without experts where it can, if there are any, or those of an expert.
 */
export function ffnWidthsOf({ layers }: ModelSpec, { experts: known }: GgufArchitecture): readonly number[] {
  if (known?.shared === "ffn") return layers.map(({ neurons, experts }) => experts?.shared ?? neurons);
  const dense = known?.afterDense ? layers.filter(({ experts }) => experts === undefined) : [];
  return (dense.length > 0 ? dense : layers).map(expertNeurons);
}

/** The keys for a model, beside the width of FFNs. */
export function expertEntries(
  { layers }: ModelSpec,
  { experts: known, saysNoExperts }: GgufArchitecture,
): readonly (readonly [string, EncodedValue])[] {
  if (saysNoExperts) return noExpertEntries(layers);
  const dense = layers.findIndex(({ experts }) => experts !== undefined);
  const { [dense]: first } = layers;
  if (known === null || first?.experts === undefined) return [];
  const { count, active, normalised, scale = 1, groups } = first.experts;
  return [
    [EXPERT_COUNT, u32(count)],
    [ACTIVE, u32(active)],
    ...(groups
      ? ([
          [EXPERT_GROUPS, u32(groups.count)],
          [ACTIVE_GROUPS, u32(groups.active)],
        ] as const)
      : []),
    ...(known.ownWidth ? [[WIDTH, u32(expertNeurons(first))] as const] : []),
    ...sharedEntries(first, known),
    ...(known.afterDense ? [[DENSE_LAYERS, u32(dense)] as const] : []),
    ...(known.stepped ? [[STEP, u32(1)] as const] : []),
    ...(known.scores.sigmoid || known.saysScores
      ? [[SCORES, u32(first.experts.sigmoid ? SIGMOID : SOFTMAX)] as const]
      : []),
    ...(known.normalised === null ? [[NORMALISED, flag(normalised)] as const] : []),
    ...(known.scaled ? [[SCALE, f32(scale)] as const] : []),
  ];
}

/** That all layers come before those with experts, with the numbers that llama.cpp asks for all the same. */
function noExpertEntries(layers: ModelSpec["layers"]): readonly (readonly [string, EncodedValue])[] {
  return [
    [WIDTH, u32(Math.max(...layers.map(({ neurons }) => neurons)))],
    [SHARED_COUNT, u32(0)],
    [DENSE_LAYERS, u32(layers.length)],
  ];
}

function sharedEntries(
  layer: LayerSpec,
  { shared: known }: GgufExperts,
): readonly (readonly [string, EncodedValue])[] {
  const shared = layer.experts?.shared;
  if (shared === undefined || known === "ffn") return [];
  const times = shared / expertNeurons(layer);
  if (known === "multiple") return [[SHARED_COUNT, u32(times)]];
  const width = [SHARED_WIDTH, u32(shared)] as const;
  return known === "counted" ? [[SHARED_COUNT, u32(Math.ceil(times))], width] : [width];
}

/**
 * A layer whose shared expert is so wide that a file can say it: where that is a whole number of times as wide
 * as the others, at least as wide as it is.
 */
export function withSayableShared(layer: LayerSpec, { experts: known }: GgufArchitecture): LayerSpec {
  const { experts } = layer;
  if (known?.shared !== "multiple" || experts?.shared === undefined) return layer;
  const width = expertNeurons(layer);
  return { ...layer, experts: { ...experts, shared: Math.ceil(experts.shared / width) * width } };
}
