/**
 * FFNs of experts in the metadata of GGUF files, both ways (llama.cpp, qwen2moe.cpp, qwen3moe.cpp, qwen35moe.cpp,
 * olmoe.cpp and granite-moe.cpp in src/models/ of llama.cpp). A file has one number of experts, and all layers have
 * them.
 */
import { type EncodedValue, u32 } from "../../io/formats/gguf_values.ts";
import { type ExpertsSpec, expertNeurons, type LayerSpec, type ModelSpec } from "../spec.ts";
import type { GgufArchitecture } from "./architecture.ts";
import { EXPERT_COUNT, FFN_WIDTH, type GgufKeys } from "./keys.ts";

/** Experts of a token. */
const ACTIVE = "expert_used_count";
/** Neurons of an expert, in architectures that have a key for them. */
const WIDTH = "expert_feed_forward_length";
/** Neurons of the expert of all tokens. */
const SHARED_WIDTH = "expert_shared_feed_forward_length";

/** LLAMA_MAX_EXPERTS of llama.cpp. */
const MAX_EXPERTS = 1024;

/** What is said of the FFN of a layer. */
type Ffn = Pick<LayerSpec, "neurons" | "experts">;

/**
 * The FFN of each layer.
 * @throws GpruneError BAD_FILE for impossible numbers of experts; a width may be none
 */
export function ffnsOf(keys: GgufKeys, { experts: known }: GgufArchitecture, layers: number): readonly Ffn[] {
  const widthsOf = (name: string): readonly number[] => keys.metadata.perLayer(keys.key(name), layers);
  if (known === null) return widthsOf(FFN_WIDTH).map((neurons) => ({ neurons }));
  const count = keys.size(EXPERT_COUNT, MAX_EXPERTS);
  const active = keys.size(ACTIVE, count);
  const has = (name: string): boolean => keys.metadata.has(keys.key(name));
  const widths =
    known.ownWidth && has(WIDTH)
      ? widthsOf(WIDTH)
      : widthsOf(FFN_WIDTH).map((width) => (known.ownWidth ? width / active : width));
  const shared = known.shared ? widthsOf(has(SHARED_WIDTH) ? SHARED_WIDTH : FFN_WIDTH) : [];
  return widths.map((width, layer) => {
    const experts: ExpertsSpec = {
      count,
      active,
      normalised: known.normalised,
      ...(known.shared && { shared: sharedWidth(keys, shared[layer]!) }),
    };
    return { neurons: width * count, experts };
  });
}

/** @throws GpruneError BAD_FILE unless it is a positive integer */
function sharedWidth(keys: GgufKeys, neurons: number): number {
  if (Number.isSafeInteger(neurons) && neurons > 0) return neurons;
  throw keys.bad(SHARED_WIDTH, "a positive integer", neurons);
}

/** The keys for a model, beside the width of FFNs. */
export function expertEntries(
  { layers }: ModelSpec,
  { experts: known }: GgufArchitecture,
): readonly (readonly [string, EncodedValue])[] {
  const [first] = layers;
  if (known === null || first?.experts === undefined) return [];
  const { count, active, shared } = first.experts;
  return [
    [EXPERT_COUNT, u32(count)],
    [ACTIVE, u32(active)],
    ...(known.ownWidth ? [[WIDTH, u32(expertNeurons(first))] as const] : []),
    ...(shared === undefined ? [] : [[SHARED_WIDTH, u32(shared)] as const]),
  ];
}

/** Why llama.cpp cannot have the experts of a model, or a model without; null where it can. */
export function expertObstacle({ layers }: ModelSpec, { experts: known }: GgufArchitecture): string | null {
  const found = layers.flatMap(({ experts }) => experts ?? []);
  if (known === null) return found.length === 0 ? null : "experts";
  if (found.length < layers.length) return "layers without experts";
  const [{ count, active, shared }] = found as [ExpertsSpec];
  if (found.some((other) => other.count !== count || other.active !== active))
    return "other numbers of experts in some layers";
  if (known.shared !== (shared !== undefined))
    return `experts with${known.shared ? "out" : ""} one of all tokens`;
  if (found.some((other) => other.shared !== shared))
    return "experts of all tokens of other widths in some layers";
  if (count > MAX_EXPERTS) return `more than ${MAX_EXPERTS} experts`;
  if (found.every((other) => other.normalised === known.normalised)) return null;
  return `experts of a token whose numbers ${known.normalised ? "do not " : ""}add up to 1`;
}
