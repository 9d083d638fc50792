/** Attention of the reference decoder. */
import type { LatentSpec } from "../src/model/latent_spec.ts";
import {
  chunks,
  dot,
  linear,
  matrix,
  norm,
  type Row,
  type Rows,
  rotate,
  sigmoid,
  softcap,
  softmax,
  softplus,
} from "./reference_functions.ts";
import { type Attended, type ReferenceLayer, scaled } from "./reference_layer.ts";

export function attention(layer: ReferenceLayer, stream: Rows, gate: (rows: Rows) => Rows): Rows {
  const { attentionScale, scoreSoftcap, latent, multipliers } = layer.spec;
  const normed = scaled(
    layer.norms === "after" ? stream : layer.norm(stream, "input_layernorm"),
    multipliers?.attentionInput,
  );
  const { groupSize, window, slopes } = layer.layerSpec;
  const gates = gatesOf(layer, normed);
  const heads = latent === undefined ? plainHeads(layer, normed) : latentHeads(layer, normed, latent);
  const { queries, keys, values } = heads;
  const mixed = queries.map((row, t) =>
    row.flatMap((query, n) => {
      const group = Math.floor(n / groupSize);
      const first = window === null ? 0 : Math.max(0, t - window + 1);
      const seen = keys.slice(first, t + 1);
      const raw = softcap(
        seen.map((key) => attentionScale * dot(query, scaled([key[group]!], multipliers?.keys)[0]!)),
        scoreSoftcap,
      ).map((score, s) => score - (slopes?.[n] ?? 0) * (t - first - s));
      const sinks = layer.spec.attentionSinks ? [layer.vector("self_attn.sinks")[n]!] : [];
      const scores = softmax([...raw, ...sinks]).slice(0, raw.length);
      return values[0]![group]!.map((_, c) =>
        dot(
          scores,
          values.slice(first, t + 1).map((value) => value[group]![c]!),
        ),
      );
    }),
  );
  const opened = layer.spec.softplusGates ? softplus : sigmoid;
  const open = mixed.map((row, t) => row.map((x, c) => (gates === null ? x : x * opened(gates[t]![c]!))));
  const out = (layer.layerSpec.kvSharing ? open : gate(open)).map((row) =>
    layer.project("self_attn", "o_proj", row),
  );
  return layer.join(stream, layer.given(out, "post_attention_layernorm"), multipliers?.attentionOutput);
}

/** Heads whose queries, keys and values are products with the layer's input. */
function plainHeads(layer: ReferenceLayer, rows: Rows): Attended & { readonly queries: readonly Rows[] } {
  const { qkNorm, projectionClip } = layer.spec;
  const { headDim = layer.spec.headDim, rope } = layer.layerSpec;
  const limit = projectionClip ?? Number.POSITIVE_INFINITY;
  const clipped = (projection: string, input: Row): Row =>
    layer.project("self_attn", projection, input).map((value) => Math.max(-limit, Math.min(limit, value)));
  const prepared = (projection: string, normName: string): readonly Rows[] =>
    rows.map((input, t) => {
      const normIf = (kind: string, row: Row): Row =>
        qkNorm === kind ? layer.normRow(row, normName, "weight") : row;
      const heads =
        projection === "q_proj" && layer.spec.gatedAttention === "q_proj"
          ? queryParts(layer, input, 0)
          : chunks(normIf("projection", clipped(projection, input)), headDim);
      return heads.map((head, n) => {
        const normed =
          qkNorm === "each_head"
            ? headNormed(layer, head, { name: normName, head: n })
            : normIf("head", head);
        const rotated = normIf("rotated_head", rotate(normed, t, rope));
        const isNormed = qkNorm === "unweighted" && rope !== null;
        return isNormed ? norm(rotated, { weight: null, bias: null }, layer.spec) : rotated;
      });
    });
  const queries = prepared("q_proj", "self_attn.q_norm");
  const own = keysAndValues(layer, {
    keys: () => prepared("k_proj", "self_attn.k_norm"),
    values: () =>
      rows.map((row) =>
        chunks(clipped(layer.layerSpec.valuesAreKeys ? "k_proj" : "v_proj", row), headDim).map((head) =>
          layer.spec.valueNorm ? norm(head, { weight: null, bias: null }, layer.spec) : head,
        ),
      ),
  });
  return { queries, ...own };
}

/** Heads whose keys and values come from latents, [nope channels, then those that turn]. */
function latentHeads(
  layer: ReferenceLayer,
  rows: Rows,
  latent: LatentSpec,
): Attended & { readonly queries: readonly Rows[] } {
  const { rank, rotated, valueDim, queryRank, biases } = latent;
  const { headDim } = layer.spec;
  const product = (row: Row, name: string, biased = false): Row => {
    const outputs = linear(row, matrix(layer.weights, `${layer.prefix}self_attn.${name}.weight`));
    const bias = biased ? layer.vector(`self_attn.${name}.bias`) : [];
    return outputs.map((x, c) => x + (bias[c] ?? 0));
  };
  const normed = (row: Row, name: string): Row => {
    const rule = { ...layer.spec, normEps: 1e-6 };
    return norm(row, { weight: layer.vector(`self_attn.${name}.weight`), bias: null }, rule);
  };
  const turned = (row: Row, t: number): Row => rotate(row, t, layer.layerSpec.rope);
  const made = rows.map((row) => product(row, "kv_a_proj", biases));
  const ofKeys = made.map((row) => normed(row.slice(0, rank), "kv_a_layernorm"));
  const ofQueries =
    queryRank === null ? rows : rows.map((row) => normed(product(row, "q_a_proj", biases), "q_a_layernorm"));
  const split = headDim - rotated;
  return {
    queries: ofQueries.map((row, t) =>
      chunks(layer.project("self_attn", "q_proj", row), headDim).map((head) => [
        ...head.slice(0, split),
        ...turned(head.slice(split), t),
      ]),
    ),
    keys: ofKeys.map((row, t) => {
      const shared = turned(made[t]!.slice(rank), t);
      return chunks(layer.project("self_attn", "k_proj", row), split).map((head) => [...head, ...shared]);
    }),
    values: ofKeys.map((row) => chunks(layer.project("self_attn", "v_proj", row), valueDim)),
  };
}

/** Those of another layer, or the layer's own, which later ones may read. */
function keysAndValues(
  layer: ReferenceLayer,
  own: {
    readonly keys: () => Attended["keys"];
    readonly values: () => Attended["values"];
  },
): Attended {
  const { kvSharing } = layer.layerSpec;
  const result =
    kvSharing?.role === "reader"
      ? layer.attended[kvSharing.source]!
      : { keys: own.keys(), values: own.values() };
  layer.attended.push(result);
  return result;
}

/** Gates of attention's outputs before their sigmoid or softplus; null without. */
function gatesOf(layer: ReferenceLayer, rows: Rows): Rows | null {
  const { gatedAttention } = layer.spec;
  if (gatedAttention === false) return null;
  if (gatedAttention === "q_proj") return rows.map((row) => queryParts(layer, row, 1).flat());
  const gates = matrix(layer.weights, `${layer.prefix}self_attn.gate_proj.weight`);
  const width = gatedAttention === "head_gates" ? layer.spec.headDim : 1;
  return rows.map((row) => linear(row, gates).flatMap((gate) => Array<number>(width).fill(gate)));
}

/** The queries (0) or gates (1) of all heads. */
function queryParts(layer: ReferenceLayer, input: Row, part: 0 | 1): readonly Row[] {
  const { headDim } = layer.spec;
  const both = chunks(layer.project("self_attn", "q_proj", input), 2 * headDim);
  return both.map((head) => head.slice(part * headDim, (part + 1) * headDim));
}

/** A head with the norm that has weights of its own. */
function headNormed(
  layer: ReferenceLayer,
  row: Row,
  { name, head }: { readonly name: string; readonly head: number },
): Row {
  const weights = matrix(layer.weights, `${layer.prefix}${name}.weight`);
  return norm(row, { weight: weights[head]!, bias: null }, layer.spec);
}
