/**
 * A pruning plan: which units of each space are kept, as an immutable JSON value. Scores and allocations make it,
 * surgery carries it out; it is written beside every output and can be replayed on the same model.
 *
 * Not here: how plans are decided (allocation.ts) and carried out (surgery.ts), and their text form (plan_json.ts).
 */

import { firstFew } from "../base/lists.ts";
import { plainName } from "../base/plain_text.ts";
import { GpruneError } from "../errors.ts";
import type { JsonValue } from "../io/files/json_document.ts";
import { withKvGroups } from "../model/alibi.ts";
import { prunableParameters, type Space, spacesOf } from "../model/spaces.ts";
import type { LayerSpec, ModelSpec } from "../model/spec.ts";
import { type SpaceKind, spaceId } from "../model/weights.ts";

/** Kept unit indices by space id, ascending and never empty; a space that is absent is kept whole. */
export type Keep = Readonly<Record<string, readonly number[]>>;

/** Shape of the model that a plan was made for; widths have one entry per layer. */
export interface PlanBase {
  readonly family: string;
  readonly hiddenSize: number;
  readonly headDim: number;
  readonly neurons: readonly number[];
  readonly kvGroups: readonly number[];
  readonly groupSizes: readonly number[];
}

/** The key in a plan's provenance for the hash of the weights that it was made for; older plans lack it. */
export const PLANNED_WEIGHTS = "model_sha256";

/**
 * The kept units of a model: `makePlan` makes a plan, `applyPlan` carries it out, `formatPlan` writes it as plan.json.
 */
export interface PruningPlan {
  readonly format: "gprune-plan";
  readonly version: 1;
  readonly base: PlanBase;
  readonly keep: Keep;
  /**
   * How the plan was made: metric, allocation, requested sparsity, seed, sets. No decision depends on it; warnings and
   * the report show parts of it.
   */
  readonly provenance: Readonly<Record<string, JsonValue>>;
}

/** Whether a plan fits, and if not, why: one sentence for each problem. */
export type PlanCheck = { readonly ok: true } | { readonly ok: false; readonly problems: readonly string[] };

/** Number of units in every layer, by kind of space. */
export type Widths = Readonly<Record<SpaceKind, readonly number[]>>;

/** The field of a layer's spec that counts the units of a kind of space. */
const WIDTH_FIELD = { ffn: "neurons", kv: "kvGroups" } as const satisfies Record<SpaceKind, keyof LayerSpec>;

/** A plan for a model of this shape. `keep` is not checked; `validatePlan` does that. */
export function makePlan(
  spec: ModelSpec,
  keep: Keep,
  provenance: Readonly<Record<string, JsonValue>> = {},
): PruningPlan {
  return { format: "gprune-plan", version: 1, base: planBase(spec), keep, provenance };
}

/** The plan that removes nothing. */
export function keepAll(spec: ModelSpec): PruningPlan {
  return makePlan(spec, {});
}

/** The base of a plan for a model of this shape. */
function planBase(spec: ModelSpec): PlanBase {
  const { family, hiddenSize, headDim, layers } = spec;
  return {
    family,
    hiddenSize,
    headDim,
    neurons: layers.map((layer) => layer.neurons),
    kvGroups: layers.map((layer) => layer.kvGroups),
    groupSizes: layers.map((layer) => layer.groupSize),
  };
}

/** Whether a plan is valid in itself and made for a model of this shape. */
export function validatePlan(plan: PruningPlan, spec: ModelSpec): PlanCheck {
  const problems = [
    ...baseProblems(plan.base, planBase(spec)),
    ...keepProblems(plan),
    ...sharedProblems(plan, spec),
    ...expertProblems(plan, spec),
  ];
  return problems.length === 0 ? { ok: true } : { ok: false, problems };
}

/** Problems of groups that a plan removes though several layers share them. */
function sharedProblems({ keep }: PruningPlan, { layers }: ModelSpec): readonly string[] {
  return layers.flatMap(({ kvSharing }, index) => {
    const id = spaceId(index, "kv");
    if (kvSharing === undefined || keep[id] === undefined) return [];
    return [`keep ${id}: expected no entry, since layers share these keys and values, got one`];
  });
}

/** Problems of experts that a plan would leave unequal. */
function expertProblems({ base, keep }: PruningPlan, spec: ModelSpec): readonly string[] {
  const spaces = spacesOf(spec).filter(({ id, layer, units, parts }) => {
    return parts > 1 && keep[id] !== undefined && base.neurons[layer] === units;
  });
  return spaces.flatMap(({ id, units, parts }) => {
    const counts = new Array<number>(parts).fill(0);
    for (const unit of keep[id]!) counts[Math.floor((unit * parts) / units)]! += 1;
    if (counts.every((count) => count === counts[0])) return [];
    const range = `${Math.min(...counts)} to ${Math.max(...counts)}`;
    return [`keep ${id}: expected equal numbers of neurons of ${parts} experts, got ${range}`];
  });
}

/**
 * Problems of a plan's indices, by the shapes in the plan's own base: unknown spaces, empty lists, indices out of
 * range, not ascending or repeated.
 */
export function keepProblems({ base, keep }: PruningPlan): readonly string[] {
  const units = unitsOf(base);
  return Object.entries(keep).flatMap(([id, kept]) => {
    const count = units.get(id);
    if (count === undefined)
      return [`keep: expected spaces of a model with ${base.neurons.length} layers, got "${plainName(id)}"`];
    if (kept.length === 0) return [`keep ${id}: expected at least one unit, got none`];
    const bad = kept.find((unit) => !(Number.isInteger(unit) && unit >= 0 && unit < count));
    if (bad !== undefined) return [`keep ${id}: expected units 0 to ${count - 1}, got ${bad}`];
    const at = kept.findIndex((unit, i) => i > 0 && unit <= kept[i - 1]!);
    return at < 0 ? [] : [`keep ${id}: expected ascending units, got ${kept[at]} after ${kept[at - 1]}`];
  });
}

/**
 * One plan equivalent to `first` followed by `second`, whose indices are those of the model after `first`.
 * @throws GpruneError BAD_PLAN if `second` is not for the model after `first`, or either is invalid
 */
export function composePlans(first: PruningPlan, second: PruningPlan): PruningPlan {
  const problems = [
    ...keepProblems(first),
    ...baseProblems(second.base, baseAfter(first)),
    ...keepProblems(second),
  ];
  if (problems.length > 0) throw badPlan("composition of plans", problems);
  const later = Object.entries(second.keep).map(([id, kept]) => {
    const before = first.keep[id];
    return [id, before === undefined ? kept : kept.map((unit) => before[unit]!)] as const;
  });
  return {
    ...first,
    keep: { ...first.keep, ...Object.fromEntries(later) },
    provenance: { rounds: [first.provenance, second.provenance] },
  };
}

/** The spec of the model after a plan, which must be valid for `spec`. */
export function prunedSpec(spec: ModelSpec, plan: PruningPlan): ModelSpec {
  const { ffn } = widths(plan, spec);
  const layers = spec.layers.map((layer, i) => {
    const kept = plan.keep[spaceId(i, "kv")];
    return { ...(kept === undefined ? layer : withKvGroups(layer, kept)), neurons: ffn[i]! };
  });
  return { ...spec, layers };
}

/** Number of units in every layer after the plan. */
export function widths(plan: PruningPlan, spec: ModelSpec): Widths {
  const ofKind = (kind: SpaceKind): readonly number[] =>
    spec.layers.map((layer, i) => plan.keep[spaceId(i, kind)]?.length ?? layer[WIDTH_FIELD[kind]]);
  return { ffn: ofKind("ffn"), kv: ofKind("kv") };
}

/** Units of a space that are kept, ascending. */
export function keptUnits(keep: Keep, { id, units }: Space): readonly number[] {
  return keep[id] ?? Array.from({ length: units }, (_, unit) => unit);
}

/** Units of a space that a plan removes, ascending. */
export function removedUnits(plan: PruningPlan, space: Space): readonly number[] {
  const kept = plan.keep[space.id];
  if (kept === undefined) return [];
  const isKept = new Set(kept);
  return Array.from({ length: space.units }, (_, unit) => unit).filter((unit) => !isKept.has(unit));
}

/** Parameters that a valid plan removes, biases included. */
export function removedParameters(plan: PruningPlan, spec: ModelSpec): number {
  return spacesOf(spec).reduce((sum, { id, units, unitParameters }) => {
    const kept = plan.keep[id]?.length ?? units;
    return sum + (units - kept) * unitParameters;
  }, 0);
}

/** Removed parameters as a fraction, 0..1, of the prunable ones; the scale of `--sparsity`. */
export function achievedSparsity(plan: PruningPlan, spec: ModelSpec): number {
  return removedParameters(plan, spec) / prunableParameters(spec);
}

const WRONG_SHAPE = "A plan fits only models with the shape that it was made for.";

/** The error for a plan that cannot be used. */
export function badPlan(where: string, problems: readonly string[], hint: string = WRONG_SHAPE): GpruneError {
  return new GpruneError("BAD_PLAN", `${where}: ${firstFew(problems).join("; ")}`, { hint });
}

/** The base of a plan for the model after a plan. */
function baseAfter({ base, keep }: PruningPlan): PlanBase {
  const after = (kind: SpaceKind) => (units: number, layer: number) =>
    keep[spaceId(layer, kind)]?.length ?? units;
  return { ...base, neurons: base.neurons.map(after("ffn")), kvGroups: base.kvGroups.map(after("kv")) };
}

function baseProblems(got: PlanBase, expected: PlanBase): readonly string[] {
  const keys = Object.keys(expected) as (keyof PlanBase)[];
  return keys
    .filter((key) => JSON.stringify(got[key]) !== JSON.stringify(expected[key]))
    .map((key) => `base ${key}: expected ${shapeText(expected[key])}, got ${shapeText(got[key])}`);
}

function shapeText(value: PlanBase[keyof PlanBase]): string {
  if (typeof value !== "object") return `${value}`;
  const same = new Set(value).size === 1;
  return same ? `${value.length} layers of ${value[0]}` : `[${value.join(", ")}]`;
}

function unitsOf({ neurons, kvGroups }: PlanBase): ReadonlyMap<string, number> {
  const ofLayers = [
    ...neurons.map((units, layer) => [spaceId(layer, "ffn"), units] as const),
    ...kvGroups.map((units, layer) => [spaceId(layer, "kv"), units] as const),
  ];
  return new Map(ofLayers.filter(([, count]) => count > 0));
}
