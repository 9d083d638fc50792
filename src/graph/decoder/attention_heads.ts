/** The query, key and value heads of a layer with attention, from what enters it. */
import type { QkNorm } from "../../model/spec.ts";
import { ATTENTION_GATES } from "../../model/weight_names.ts";
import type { NormPart } from "../../model/weights.ts";
import type { Value } from "../ir/graph.ts";
import { clip } from "../ir/operators.ts";
import type { Dim } from "../ir/shapes.ts";
import { grow, rotate } from "./formulas.ts";
import { latentHeads } from "./latent_heads.ts";
import type { LayerOperators } from "./layer_operators.ts";
import { type AttentionInputs, multiple } from "./layer_structure.ts";

type KeysAndValues = Readonly<Record<"keys" | "values", Value>>;

/** What attention computes with. */
export interface Heads extends KeysAndValues {
  /** Rotated, [B, T, N, H]. */
  readonly queries: Value;
  /** Gates of attention's output before their sigmoid or softplus, [B, T, N, H] or [B, T, N, 1]; null where there are none. */
  readonly gates: Value | null;
}

/** Queries of x, [B, T, C], and keys and values of past and present tokens, [B, K, S, ..]. */
export function attentionHeads(layer: LayerOperators, x: Value, inputs: AttentionInputs): Heads {
  const { angles, shared } = inputs;
  const { latent } = layer.structure;
  if (latent !== undefined) {
    const { queries, ...present } = latentHeads(layer, { latent, x, angles });
    return { queries, gates: null, ...withPasts(layer, present, inputs) };
  }
  const { queries, gates } = queriesOf(layer, x);
  const rotated = rotatedNormed(layer, grow(layer.b, rotate(layer.b, queries, angles), angles), "q_norm");
  return { queries: rotated, gates, ...(shared ?? keysAndValues(layer, x, inputs)) };
}

/** Queries as `headsOf` gives them, normed if that precedes the rotation, and gates. */
function queriesOf(layer: LayerOperators, x: Value): Pick<Heads, "queries" | "gates"> {
  const { b, structure, sizes } = layer;
  const { headDim, gatedAttention } = structure;
  const { N } = sizes;
  const [batch, tokens] = x.shape as readonly [Dim, Dim, Dim];
  if (gatedAttention !== "q_proj") {
    const queries = normedHeads(layer, headsOf(layer, x, "q_proj"), "q_norm");
    if (gatedAttention === false) return { queries, gates: null };
    const width = gatedAttention === "head_gates" ? 1 : headDim;
    const own = b.cast(layer.linear(x, ATTENTION_GATES, multiple(N, width)), "float32");
    return { queries, gates: b.reshape(own, [batch, tokens, N, width]) };
  }
  const projected = layer.linear(x, "q_proj", multiple(N, 2 * headDim));
  const pairs = b.reshape(projected, [batch, tokens, N, 2 * headDim]);
  const half = (start: number): Value => b.slice(pairs, 3, { start, end: start + headDim });
  return {
    queries: normedIf(layer, half(0), { kind: "head", name: "q_norm" }),
    gates: b.cast(half(headDim), "float32"),
  };
}

function keysAndValues(layer: LayerOperators, x: Value, inputs: AttentionInputs): KeysAndValues {
  const { valuesAreKeys = false, valueNorm = false } = layer.structure;
  const projected = headsOf(layer, x, "k_proj");
  const rotated = rotate(layer.b, normedHeads(layer, projected, "k_norm"), inputs.angles);
  const unnormed = valuesAreKeys ? projected : headsOf(layer, x, "v_proj");
  const values = valueNorm ? layer.norm(unnormed, "v_norm", { parts: [] }) : unnormed;
  return withPasts(layer, { keys: rotatedNormed(layer, rotated, "k_norm"), values }, inputs);
}

/** Keys and values of past and present tokens, [B, K, S, ..], from those of the present, [B, T, K, ..]. */
function withPasts(
  { b }: LayerOperators,
  { keys, values }: KeysAndValues,
  { mask, past }: AttentionInputs,
): KeysAndValues {
  const total = mask.shape.at(-1)!;
  const joined = (present: Value, before: Value | undefined): Value => {
    const byHead = b.transpose(present, [0, 2, 1, 3]);
    return before === undefined ? byHead : b.concat([before, b.cast(byHead, before.type)], 2, total);
  };
  return { keys: joined(keys, past?.keys), values: joined(values, past?.values) };
}

/** Output of a projection, normed as a whole if that is so, clipped if all are, as heads: [B, T, heads, H]. */
function headsOf(layer: LayerOperators, x: Value, projection: "q_proj" | "k_proj" | "v_proj"): Value {
  const { b, sizes } = layer;
  const { projectionClip, headDim } = layer.structure;
  const name = ({ q_proj: "q_norm", k_proj: "k_norm", v_proj: null } as const)[projection];
  const count = projection === "q_proj" ? sizes.N : sizes.K;
  const projected = layer.linear(x, projection, multiple(count, headDim));
  const normed = name === null ? projected : normedIf(layer, projected, { kind: "projection", name });
  const channels = projectionClip === null ? normed : clip(b, normed, projectionClip);
  return b.reshape(channels, [...x.shape.slice(0, 2), count, headDim]);
}

type NormName = "q_norm" | "k_norm";

/** Heads, each normed if that precedes the rotation. */
function normedHeads(layer: LayerOperators, heads: Value, name: NormName): Value {
  return normedIf(layer, normedIf(layer, heads, { kind: "head", name }), { kind: "each_head", name });
}

/** Rotated heads, normed if that follows the rotation. */
function rotatedNormed(layer: LayerOperators, heads: Value, name: NormName): Value {
  const weighted = normedIf(layer, heads, { kind: "rotated_head", name });
  return normedIf(layer, weighted, { kind: "unweighted", name });
}

/** x with a norm of queries or keys, if theirs is of this kind. */
function normedIf(
  layer: LayerOperators,
  x: Value,
  { kind, name }: { readonly kind: QkNorm; readonly name: NormName },
): Value {
  if (layer.structure.qkNorm !== kind) return x;
  const parts: readonly NormPart[] = kind === "unweighted" ? [] : ["weight"];
  return layer.norm(x, `self_attn.${name}`, { parts, axes: kind === "each_head" ? 2 : 1 });
}
