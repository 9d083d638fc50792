/** Queries, keys and values of multi-head latent attention (`LatentSpec`). */
import { KEY_LATENT, LATENT_NORM_EPS, type LatentSpec, QUERY_LATENT } from "../../model/latent_spec.ts";
import type { Value } from "../ir/graph.ts";
import { grow, norm, type RotaryAngles, rotate } from "./formulas.ts";
import type { LayerOperators } from "./layer_operators.ts";
import { multiple } from "./layer_structure.ts";

/** The input of a layer, [B, T, C], and the angles of its tokens. */
export interface LatentInputs {
  readonly latent: LatentSpec;
  readonly x: Value;
  readonly angles: RotaryAngles | null;
}

/** Rotated queries [B, T, N, H] and keys [B, T, K, H], and values [B, T, K, valueDim]. */
export function latentHeads(
  layer: LayerOperators,
  { latent, x, angles }: LatentInputs,
): Readonly<Record<"queries" | "keys" | "values", Value>> {
  const { b, structure, sizes } = layer;
  const { rank, rotated, valueDim, queryRank } = latent;
  const { headDim } = structure;
  const headsOf = (from: Value, matrix: "q_proj" | "k_proj" | "v_proj", size: number): Value => {
    const count = matrix === "q_proj" ? sizes.N : sizes.K;
    return b.reshape(layer.linear(from, matrix, multiple(count, size)), [
      ...x.shape.slice(0, 2),
      count,
      size,
    ]);
  };
  const both = layer.linear(x, KEY_LATENT.matrix, rank + rotated);
  const ofKeys = normed(layer, b.slice(both, 2, { start: 0, end: rank }), KEY_LATENT.norm);
  const shared = b.reshape(b.slice(both, 2, { start: rank, end: rank + rotated }), [
    ...x.shape.slice(0, 2),
    1,
    rotated,
  ]);
  const ofQueries =
    queryRank === null
      ? x
      : normed(layer, layer.linear(x, QUERY_LATENT.matrix, queryRank), QUERY_LATENT.norm);
  const queries = headsOf(ofQueries, "q_proj", headDim);
  const split = { start: headDim - rotated, end: headDim };
  const resting = b.slice(queries, 3, { start: 0, end: split.start });
  const turning = rotate(b, b.slice(queries, 3, split), angles);
  const own = headsOf(ofKeys, "k_proj", headDim - rotated);
  const ofAllHeads = b.mul(b.cast(rotate(b, shared, angles), "float32"), b.onesAlong(own, 2));
  return {
    queries: grow(b, b.concat([resting, turning], 3, headDim), angles),
    keys: b.concat([own, b.cast(ofAllHeads, own.type)], 3, headDim),
    values: headsOf(ofKeys, "v_proj", valueDim),
  };
}

function normed({ b, structure, weights }: LayerOperators, x: Value, name: string): Value {
  const weight = weights.tensor(`${name}.weight`, x.shape.slice(-1));
  return norm(b, x, { ...structure, normEps: LATENT_NORM_EPS, weight, bias: null });
}
