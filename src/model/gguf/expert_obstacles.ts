/** What llama.cpp cannot have of the experts of a model (experts.ts writes the others). */
import { isDeepStrictEqual } from "node:util";
import type { ExpertsSpec } from "../experts_spec.ts";
import { ffnLayers } from "../ffn_layers.ts";
import { expertNeurons, type LayerSpec, type ModelSpec } from "../spec.ts";
import type { GgufArchitecture, GgufExperts } from "./architecture.ts";
import { BEST, MAX_EXPERTS } from "./experts.ts";

/** Why llama.cpp cannot have the experts of a model, or a model without; null where it can. */
export function expertObstacle(
  spec: Pick<ModelSpec, "layers">,
  { experts: known, loads }: GgufArchitecture,
): string | null {
  const layers = ffnLayers(spec);
  const found = layers.flatMap(({ experts }) => experts ?? []);
  if (known === null) return found.length === 0 ? null : "experts";
  const first = layers.findIndex(({ experts }) => experts !== undefined);
  if (first < 0 || (first > 0 && !known.afterDense)) return "layers without experts";
  if (found.length < layers.length - first)
    return `layers without experts${known.afterDense ? " after others with some" : ""}`;
  const [{ count, active, groups }] = found as [ExpertsSpec];
  if (found.some((other) => other.count !== count || other.active !== active))
    return "other numbers of experts in some layers";
  if (groups !== undefined && !(known.grouped && groups.best === BEST)) return "groups of experts";
  if (found.some((other) => !isDeepStrictEqual(other.groups, groups)))
    return "other groups of experts in some layers";
  if (loads.perLayerWidths && new Set(layers.slice(first).map(expertNeurons)).size > 1)
    return "experts of other widths in some layers";
  const sharedObstacle = sharedObstacleOf(layers.slice(first), known);
  if (sharedObstacle !== null) return sharedObstacle;
  if (count > MAX_EXPERTS) return `more than ${MAX_EXPERTS} experts`;
  return scoreObstacle(found, known) ?? numbersObstacle(found, known);
}

/** Ways to have a shared expert that a file may do without. */
const OPTIONAL: readonly GgufExperts["shared"][] = ["open", "counted"];

/** @param layers - those with experts */
function sharedObstacleOf(
  layers: readonly LayerSpec[],
  { shared: known, averaged: isAveraged }: GgufExperts,
): string | null {
  const [{ shared, sharedUngated = false, averaged = false }] = layers.flatMap(
    ({ experts }) => experts ?? [],
  ) as [ExpertsSpec];
  const hasShared = shared !== undefined;
  if (hasShared ? known === null : known !== null && !OPTIONAL.includes(known))
    return `experts with${hasShared ? "" : "out"} a shared one`;
  if (hasShared && sharedUngated === (known === "gated"))
    return `a shared expert with${sharedUngated ? "out" : ""} a gate`;
  if (hasShared && averaged !== isAveraged)
    return `a shared expert that is ${averaged ? "" : "not "}averaged with the others`;
  if (known !== "ffn" && layers.some(({ experts }) => experts?.shared !== shared))
    return "shared experts of other widths in some layers";
  return known === "multiple" && layers.some((layer) => shared! % expertNeurons(layer) !== 0)
    ? "a shared expert that is not a whole number of times as wide as the others"
    : null;
}

function scoreObstacle(found: readonly ExpertsSpec[], { scores, saysScores }: GgufExperts): string | null {
  if (found.some(({ biased }) => biased !== scores.biased))
    return `routers with${scores.biased ? "out" : ""} biases`;
  const areSigmoids = saysScores ? found[0]!.sigmoid : scores.sigmoid;
  if (found.some(({ sigmoid }) => sigmoid !== areSigmoids))
    return `scores of experts that are ${areSigmoids ? "no " : ""}sigmoids`;
  if (found.some(({ corrected }) => corrected !== scores.corrected))
    return `scores of experts with${scores.corrected ? "out" : ""} corrections`;
  if (found.some(({ ownNorms, ownScales }) => ownNorms !== scores.ownNorms || ownScales !== scores.ownScales))
    return `norms or factors of experts${scores.ownNorms ? " other than both" : ""}`;
  return found.every(({ divisor }) => isDeepStrictEqual(divisor, scores.divisor))
    ? null
    : "another divisor of the routing weights";
}

function numbersObstacle(
  found: readonly ExpertsSpec[],
  { normalised: known, scaled }: GgufExperts,
): string | null {
  const [{ normalised, scale }] = found as [ExpertsSpec];
  if (found.some((other) => other.normalised !== (known ?? normalised)))
    return `experts of a token whose numbers ${(known ?? normalised) ? "do not " : ""}add up to 1`;
  return found.every((other) => other.scale === (scaled ? scale : undefined))
    ? null
    : `${scaled ? "several factors" : "a factor"} on the routing weights`;
}
