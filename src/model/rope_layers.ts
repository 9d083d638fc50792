/** The rotary embeddings of a model's layers. */
import type { RopeSpec } from "./rope_spec.ts";
import type { ModelSpec } from "./spec.ts";

/** The rotary embeddings of the layers that have one. */
export function ropesOf({ layers }: Pick<ModelSpec, "layers">): readonly RopeSpec[] {
  return layers.flatMap(({ rope }) => rope ?? []);
}

/** Rotary embedding of the rotated layers without a window, else of the rotated ones with one; null for none. */
export function mainRope({ layers }: Pick<ModelSpec, "layers">): RopeSpec | null {
  const full = layers.filter(({ window }) => window === null);
  return ropesOf({ layers: full })[0] ?? ropesOf({ layers })[0] ?? null;
}

/** Longest sequence that LongRoPE's short factors apply to, tokens; null for models without LongRoPE. */
export function longropeSwitch(spec: Pick<ModelSpec, "layers">): number | null {
  const scalings = ropesOf(spec).flatMap(({ scaling }) => (scaling?.type === "longrope" ? [scaling] : []));
  return scalings[0]?.originalMaxPositions ?? null;
}

/** Longest sequence that YaRN or dynamic scaling stretches rotary embeddings to, tokens; 0 without either. */
export function stretchedPositions(spec: Pick<ModelSpec, "layers">): number {
  const lengths = ropesOf(spec).map(({ scaling }) =>
    scaling?.type === "yarn" || scaling?.type === "dynamic"
      ? Math.floor(scaling.factor * scaling.originalMaxPositions)
      : 0,
  );
  return Math.max(0, ...lengths);
}
