/**
 * Which architecture of llama.cpp holds a model, decided before anything is written: the family's own, another one that
 * computes the same in layers of different widths, or the family's own with every layer filled up with zeros.
 */
import { GpruneError } from "../errors.ts";
import { architecturesOfFamily, type GgufArchitecture } from "../model/gguf/architectures.ts";
import { parameterCount } from "../model/spaces.ts";
import { longropeSwitch, type ModelSpec, queryHeads } from "../model/spec.ts";
import { ggufObstacles } from "./gguf_obstacles.ts";

/** How a model is written for llama.cpp. */
export interface GgufTarget {
  /** general.architecture. */
  readonly name: string;
  readonly architecture: GgufArchitecture;
  /** The model as written: as it is, or wider where zeros are filled in. */
  readonly spec: ModelSpec;
  /** Parameters of zeros that are filled in. */
  readonly zeros: number;
  /** Tokens of a sliding window that llama.cpp does not compute; null where there is none. */
  readonly ignoredWindow: number | null;
  /**
   * Tokens from which on llama.cpp takes the rotary factors of long texts, by the room in its context; null without
   * such.
   */
  readonly contextSwitch: number | null;
}

/** A target, or what is in the way of every architecture of the family. */
export type GgufAnswer =
  | { readonly target: GgufTarget }
  | { readonly target: null; readonly reason: string; readonly hint: string | undefined };

/** The first architecture of the family that holds the model as it is, else the first that holds it filled up. */
export function findGgufTarget(spec: ModelSpec): GgufAnswer {
  const candidates = architecturesOfFamily(spec.family);
  for (const written of [(same: ModelSpec) => same, widened]) {
    for (const [name, architecture] of candidates) {
      const wider = written(spec, architecture);
      if (wider !== null && ggufObstacles(wider, architecture).length === 0) {
        return { target: targetOf(spec, { name, architecture, spec: wider }) };
      }
    }
  }
  const obstacles = candidates.map(([name, architecture]) => ({
    name,
    found: ggufObstacles(widened(spec, architecture) ?? spec, architecture),
  }));
  const reasons = obstacles.map(
    ({ name, found }) => `${name} cannot have ${found.map(({ what }) => what).join(" or ")}`,
  );
  const hint = obstacles.flatMap(({ found }) => found.flatMap((obstacle) => obstacle.hint ?? []))[0];
  return { target: null, reason: reasons.join("; "), hint };
}

/**
 * @param where - the model, for the message
 * @throws GpruneError UNSUPPORTED saying for every architecture of the family what is in the way
 */
export function requireGgufTarget(spec: ModelSpec, where: string): GgufTarget {
  const answer = findGgufTarget(spec);
  if (answer.target !== null) return answer.target;
  const { reason, hint } = answer;
  const message = `${where}: expected a model that llama.cpp can hold, got what it cannot: ${reason}`;
  throw new GpruneError("UNSUPPORTED", message, { hint });
}

function targetOf(spec: ModelSpec, chosen: Pick<GgufTarget, "name" | "architecture" | "spec">): GgufTarget {
  return {
    ...chosen,
    zeros: parameterCount(chosen.spec) - parameterCount(spec),
    ...targetLimits(spec, chosen.architecture),
  };
}

/** What llama.cpp computes otherwise under an architecture. */
export type TargetLimits = Pick<GgufTarget, "ignoredWindow" | "contextSwitch">;

export function targetLimits(spec: ModelSpec, architecture: GgufArchitecture): TargetLimits {
  return { ignoredWindow: ignoredWindow(spec, architecture), contextSwitch: contextSwitch(spec) };
}

/** Tokens of the shortest sliding window when llama.cpp does not compute it under the architecture; else null. */
function ignoredWindow(spec: ModelSpec, { loads }: GgufArchitecture): number | null {
  const windows = spec.layers.map(({ window }) => window ?? Number.POSITIVE_INFINITY);
  const shortest = Math.min(...windows);
  return !loads.windows && shortest < spec.maxPositions ? shortest : null;
}

/**
 * Tokens of context beyond which llama.cpp takes LongRoPE's long factors whatever the text (llama-model.cpp); else
 * null.
 */
function contextSwitch(spec: ModelSpec): number | null {
  const length = longropeSwitch(spec);
  return length !== null && length < spec.maxPositions ? length : null;
}

/**
 * Every layer as wide as the widest or, where the heads must fill the hidden state, as that takes; null where layers
 * have different numbers of query heads for each key/value head, which zeros cannot change.
 */
function widened(spec: ModelSpec, { loads }: GgufArchitecture): ModelSpec | null {
  const { layers, hiddenSize, headDim } = spec;
  const { groupSize } = layers[0]!;
  if (layers.some((layer) => layer.groupSize !== groupSize)) return null;
  const neurons = Math.max(...layers.map((layer) => layer.neurons));
  const full = hiddenSize / (headDim * groupSize);
  const widest = Math.max(...layers.map(queryHeads)) / groupSize;
  const kvGroups = loads.fullWidthAttention && Number.isInteger(full) ? Math.max(full, widest) : widest;
  return { ...spec, layers: layers.map((layer) => ({ ...layer, neurons, kvGroups })) };
}
