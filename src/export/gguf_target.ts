/**
 * Chooses the llama.cpp architecture for a model before anything is written: the family's own, another one that
 * computes the same with layers of different widths, or the family's own with every layer padded with zeros.
 */
import { GpruneError } from "../errors.ts";
import { alibiSlopes, groupPlaces } from "../model/alibi.ts";
import type { GgufArchitecture } from "../model/gguf/architecture.ts";
import { architecturesOfFamily, forLayers } from "../model/gguf/architectures.ts";
import { withSayableShared } from "../model/gguf/experts.ts";
import { foldedSpec } from "../model/gguf/folded.ts";
import { withAllTensors } from "../model/gguf/streams.ts";
import { parameterCount } from "../model/parameter_counts.ts";
import { longropeSwitch, mainRope } from "../model/rope_layers.ts";
import { YARN_DEFAULTS } from "../model/rope_spec.ts";
import { attentionLayers, type ModelSpec, queryHeads, withBiases } from "../model/spec.ts";
import { ggufObstacles } from "./gguf_obstacles.ts";

/** The architecture and shape in which a model is written for llama.cpp. */
export interface GgufTarget {
  /** general.architecture. */
  readonly name: string;
  readonly architecture: GgufArchitecture;
  /**
   * The model as written: unchanged, or wider where it is padded with zeros, with biases and other tensors of zeros
   * where llama.cpp wants some, and without factors where they become part of the weights.
   */
  readonly spec: ModelSpec;
  /** Number of parameters that are padding, without biases that llama.cpp wants. */
  readonly zeros: number;
  /** Tokens of a sliding window that llama.cpp ignores; null where it ignores none. */
  readonly ignoredWindow: number | null;
  /** Context size, tokens, above which llama.cpp uses LongRoPE's long factors; null where it has no such switch. */
  readonly contextSwitch: number | null;
  /** Releases of llama.cpp up to v0.5.0 take 32 and 1 for YaRN's `beta_fast` and `beta_slow`, whatever the file says. */
  readonly newTurns: boolean;
}

/** A target, or why none of the family's architectures can hold the model. */
export type GgufAnswer =
  | { readonly target: GgufTarget }
  | { readonly target: null; readonly reason: string; readonly hint: string | undefined };

/** The first architecture of the family that holds the model unchanged, else the first that holds it padded. */
export function findGgufTarget(spec: ModelSpec): GgufAnswer {
  const candidates = architecturesOfFamily(spec.family).map(([name, architecture]) => ({
    name,
    architecture,
    folded: foldedSpec(spec, architecture),
  }));
  for (const shaped of [(unchanged: ModelSpec) => unchanged, widened]) {
    for (const { name, architecture, folded } of candidates) {
      const shapedSpec = shaped(folded, architecture);
      const written = shapedSpec && withRequiredBiases(shapedSpec, architecture);
      if (written !== null && ggufObstacles(written, architecture).length === 0) {
        return { target: targetOf(folded, { name, architecture, spec: written }) };
      }
    }
  }
  const obstacles = candidates.map(({ name, architecture, folded }) => ({
    name,
    found: ggufObstacles(widened(folded, architecture) ?? folded, architecture),
  }));
  const reasons = obstacles.map(
    ({ name, found }) => `${name} does not support ${found.map(({ what }) => what).join(" or ")}`,
  );
  const hint = obstacles.flatMap(({ found }) => found.flatMap((obstacle) => obstacle.hint ?? []))[0];
  const reason =
    reasons.length === 0 ? "gprune has no GGUF architecture for this family" : reasons.join("; ");
  return { target: null, reason, hint };
}

/**
 * @param where - name of the model, for the message
 * @throws GpruneError UNSUPPORTED with the obstacles of every architecture of the family
 */
export function requireGgufTarget(spec: ModelSpec, where: string): GgufTarget {
  const answer = findGgufTarget(spec);
  if (answer.target !== null) return answer.target;
  const { reason, hint } = answer;
  const message = `${where}: expected a model that llama.cpp supports, got one that it does not: ${reason}`;
  throw new GpruneError("UNSUPPORTED", message, { hint });
}

function targetOf(spec: ModelSpec, chosen: Pick<GgufTarget, "name" | "architecture" | "spec">): GgufTarget {
  const { architecture } = chosen;
  const written = withAllTensors(chosen.spec, architecture);
  const needed = withAllTensors(withRequiredBiases(spec, architecture), architecture);
  return {
    ...chosen,
    spec: written,
    zeros: parameterCount(written) - parameterCount(needed),
    ...targetLimits(spec, architecture),
  };
}

/** Differences between the model and what llama.cpp computes under an architecture. */
export type TargetLimits = Pick<GgufTarget, "ignoredWindow" | "contextSwitch" | "newTurns">;

export function targetLimits(spec: ModelSpec, architecture: GgufArchitecture): TargetLimits {
  const present = forLayers(architecture, spec.layers.length);
  return {
    ignoredWindow: ignoredWindow(spec, present),
    contextSwitch: contextSwitch(spec),
    newTurns: present.readsTurns && hasOwnTurns(spec),
  };
}

/** Tokens of the shortest sliding window if llama.cpp ignores windows under the architecture; else null. */
function ignoredWindow(spec: ModelSpec, { loads }: GgufArchitecture): number | null {
  const windows = spec.layers.map(({ window }) => window ?? Number.POSITIVE_INFINITY);
  const shortest = Math.min(...windows);
  return !loads.windows && shortest < spec.maxPositions ? shortest : null;
}

function hasOwnTurns(spec: ModelSpec): boolean {
  const scaling = mainRope(spec)?.scaling;
  if (scaling?.type !== "yarn") return false;
  return scaling.betaFast !== YARN_DEFAULTS.betaFast || scaling.betaSlow !== YARN_DEFAULTS.betaSlow;
}

/** Context size above which llama.cpp uses LongRoPE's long factors, however short the text (llama-model.cpp). */
function contextSwitch(spec: ModelSpec): number | null {
  const length = longropeSwitch(spec);
  return length !== null && length < spec.maxPositions ? length : null;
}

function withRequiredBiases(spec: ModelSpec, { loads }: GgufArchitecture): ModelSpec {
  if (loads.requiredBiases.length === 0) return spec;
  return { ...spec, layers: spec.layers.map((layer) => withBiases(layer, loads.requiredBiases)) };
}

/**
 * The spec with every layer as wide as the widest with as many experts, or with as many KV groups as fill the hidden
 * size where the architecture requires that. Null where layers differ in query heads per KV head, which padding cannot
 * change, or have gates that it would change. Where layers may have different widths, experts alone are widened, and
 * where they may have different heads, FFNs alone.
 */
function widened(spec: ModelSpec, architecture: GgufArchitecture): ModelSpec | null {
  const { loads } = architecture;
  const { layers, hiddenSize, headDim } = spec;
  const wide = layers.map((layer) => {
    const alike = layers.filter(({ experts }) => experts?.count === layer.experts?.count);
    return Math.max(...alike.map(({ neurons }) => neurons));
  });
  if (loads.perLayerWidths) {
    const sized = layers.map((layer, index) => (layer.experts ? { ...layer, neurons: wide[index]! } : layer));
    return { ...spec, layers: sized };
  }
  // Zeros would change the mean and deviation of gates that are cut by these.
  if (layers.some(({ gateCut, neurons }, index) => gateCut !== undefined && neurons < wide[index]!))
    return null;
  if (loads.perLayerHeads)
    return { ...spec, layers: layers.map((layer, index) => ({ ...layer, neurons: wide[index]! })) };
  const attending = attentionLayers(spec);
  const { groupSize } = attending[0]!;
  if (attending.some((layer) => layer.groupSize !== groupSize)) return null;
  const full = hiddenSize / (headDim * groupSize);
  const widest = Math.max(...attending.map(queryHeads)) / groupSize;
  const kvGroups = loads.fullWidthAttention && Number.isInteger(full) ? Math.max(full, widest) : widest;
  return {
    ...spec,
    layers: layers.map((layer, index) => {
      const heads = layer.mixer === undefined ? kvGroups : 0;
      const sized = withSayableShared({ ...layer, neurons: wide[index]!, kvGroups: heads }, architecture);
      const sloped = { ...sized, slopes: alibiSlopes(queryHeads(sized)) };
      return groupPlaces(layer, sloped) === null ? sized : sloped;
    }),
  };
}
