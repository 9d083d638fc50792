/** FFNs and experts of the reference decoder, and what follows them. */
import { erf } from "./numbers.ts";
import {
  ACTIVATIONS,
  add,
  chunks,
  gatedFactor,
  linear,
  matrix,
  norm,
  type Row,
  type Rows,
  sigmoid,
  softmax,
} from "./reference_functions.ts";
import { type ReferenceLayer, scaled as times } from "./reference_layer.ts";

export function ffn(
  layer: ReferenceLayer,
  { read, joined }: { readonly read: Rows; readonly joined: Rows },
  gate: (rows: Rows) => Rows,
): Rows {
  const { activation, gated, multipliers } = layer.spec;
  const entering = {
    before: "post_attention_layernorm",
    around: "pre_feedforward_layernorm",
    after: null,
    shared: "input_layernorm",
  }[layer.norms];
  const normed = entering === null ? read : layer.norm(read, entering);
  const { ownNorms = false, shared, averaged } = layer.layerSpec.experts ?? {};
  const ofExperts = ownNorms ? layer.norm(read, "pre_feedforward_layernorm_2") : normed;
  const routerReads = (t: number): Row => (ownNorms ? routerInput(layer, read[t]!) : ofExperts[t]!);
  const inner = ofExperts.map((row, t) => {
    const shares = expertShares(layer, routerReads(t));
    const project = (projection: "gate_proj" | "up_proj"): Row => {
      if (!layer.layerSpec.experts?.weighsInput) return layer.project("mlp", projection, row);
      const read = shares.map((share) =>
        layer.project(
          "mlp",
          projection,
          row.map((x) => share * x),
        ),
      );
      return read[0]!.map((_, j) => read[Math.floor((j * shares.length) / read[0]!.length)]![j]!);
    };
    const up = project("up_proj");
    const activate = (x: number): number =>
      ACTIVATIONS[activation](x, (name) => layer.vector(`mlp.act_fn.${name}`)[0]!);
    const all = gated
      ? cut(times([project("gate_proj")], multipliers?.gates)[0]!, layer.layerSpec.gateCut).map(
          (x, j) => activate(x) * gatedFactor(up[j]!, activation),
        )
      : up.map(activate);
    if (layer.layerSpec.experts?.weighsInput) return all;
    return all.map((x, j) => x * shares[Math.floor((j * shares.length) / all.length)]!);
  });
  const own = (rows: Rows, name: string): Rows => (ownNorms ? layer.norm(rows, name) : rows);
  const routed = own(
    gate(inner).map((row, t) => written(layer, row, routerReads(t))),
    "post_feedforward_layernorm_2",
  );
  const beside = (): Rows => own(sharedExpert(layer, normed), "post_feedforward_layernorm_1");
  const sum = shared === undefined ? routed : add(routed, beside());
  const out = times(sum, averaged ? 0.5 : 1);
  return layer.join(joined, layer.given(out, "post_feedforward_layernorm"), multipliers?.ffnOutput);
}

/** Gates less their mean and so many deviations as the normal distribution has a share below, 0 where that is less. */
function cut(gates: Row, share: number | undefined): Row {
  if (share === undefined) return gates;
  const mean = gates.reduce((sum, x) => sum + x, 0) / gates.length;
  const deviation = Math.sqrt(gates.reduce((sum, x) => sum + (x - mean) ** 2, 0) / gates.length);
  let [low, high] = [-10, 10];
  for (let step = 0; step < 60; step++) {
    const middle = (low + high) / 2;
    if ((1 + erf(middle / Math.SQRT2)) / 2 < share) low = middle;
    else high = middle;
  }
  return gates.map((x) => Math.max(0, x - mean - low * deviation));
}

/** The output of an FFN; biases of experts count as much as they. @param read - what the router reads */
function written(layer: ReferenceLayer, inner: Row, read: Row): Row {
  const { experts, biases } = layer.layerSpec;
  if (experts === undefined || !biases.includes("down_proj")) return layer.project("mlp", "down_proj", inner);
  const ofExperts = matrix(layer.weights, `${layer.prefix}mlp.down_proj.bias`);
  const shares = expertShares(layer, read);
  const product = linear(inner, matrix(layer.weights, `${layer.prefix}mlp.down_proj.weight`));
  return product.map((x, c) => shares.reduce((sum, share, e) => sum + share * ofExperts[e]![c]!, x));
}

/** What the shared expert adds to the output of the others. */
function sharedExpert(layer: ReferenceLayer, rows: Rows): Rows {
  const product = (row: Row, name: string): Row =>
    linear(row, matrix(layer.weights, `${layer.prefix}mlp.${name}.weight`));
  return rows.map((row) => {
    const up = product(row, "shared_expert.up_proj");
    const activate = (x: number): number => ACTIVATIONS[layer.spec.activation](x, () => 0);
    const neurons = layer.spec.gated
      ? product(row, "shared_expert.gate_proj").map(
          (x, j) => activate(x) * gatedFactor(up[j]!, layer.spec.activation),
        )
      : up.map(activate);
    const share = layer.layerSpec.experts!.sharedUngated
      ? 1
      : sigmoid(product(row, "shared_expert_gate")[0]!);
    return product(neurons, "shared_expert.down_proj").map((x) => share * x);
  });
}

/** What a router with a norm of its own reads. */
function routerInput(layer: ReferenceLayer, row: Row): Row {
  const weight = layer.vector("mlp.gate.scale");
  const normed = norm(row, { weight, bias: null }, { ...layer.spec, normOffset: 0 });
  return normed.map((x) => x / Math.sqrt(row.length));
}

/** What each expert's neurons count for a token; 1 where there are no experts. */
function expertShares(layer: ReferenceLayer, row: readonly number[]): readonly number[] {
  const { experts } = layer.layerSpec;
  if (experts === undefined) return [1];
  const { active, normalised, corrected, groups, divisor = { plus: 0 }, scale = 1 } = experts;
  const unbiased = linear(row, matrix(layer.weights, `${layer.prefix}mlp.gate.weight`));
  const bias = experts.biased ? layer.vector("mlp.gate.bias") : unbiased.map(() => 0);
  const products = unbiased.map((x, expert) => x + bias[expert]!);
  if (experts.sparseMixer !== undefined) return mixerShares(products, experts.sparseMixer);
  const scores = experts.sigmoid ? products.map(sigmoid) : softmax(products);
  const added = corrected ? layer.vector("mlp.gate.e_score_correction_bias") : scores.map(() => 0);
  const ranks = scores.map((score, expert) => score + added[expert]!);
  const size = experts.count / (groups?.count ?? 1);
  const worth = chunks(ranks, size).map((group) =>
    [...group]
      .sort((a, b) => b - a)
      .slice(0, groups?.best)
      .reduce((total, rank) => total + rank, 0),
  );
  const open = [...worth.keys()].sort((a, b) => worth[b]! - worth[a]!).slice(0, groups?.active);
  const picked = [...ranks.keys()]
    .filter((expert) => open.includes(Math.floor(expert / size)))
    .sort((a, b) => ranks[b]! - ranks[a]!)
    .slice(0, active);
  const sum = picked.reduce((total, expert) => total + scores[expert]!, 0);
  const least = "least" in divisor ? Math.max(sum, divisor.least) : sum + divisor.plus;
  const scales = experts.ownScales ? layer.vector("mlp.gate.per_expert_scale") : scores.map(() => 1);
  return scores.map((score, expert) =>
    picked.includes(expert) ? (scales[expert]! * scale * score) / (normalised ? least : 1) : 0,
  );
}

/** What `sparsemixer` of modeling_phimoe.py gives each expert. */
function mixerShares(products: Row, tolerance: number): readonly number[] {
  const shares = products.map(() => 0);
  const left = new Set(products.keys());
  for (let turn = 0; turn < 2; turn++) {
    const best = [...left].reduce((one, other) => (products[other]! > products[one]! ? other : one));
    const most = products[best]!;
    const near = [...left].filter((expert) => {
      const size = Math.max(Math.abs(products[expert]!), most);
      return (most - products[expert]!) / size <= tolerance;
    });
    shares[best] = 1 / near.reduce((total, expert) => total + Math.exp(products[expert]! - most), 0);
    left.delete(best);
  }
  return shares;
}

/** A row with what the layer's own input adds. */
export function withOwn(layer: ReferenceLayer, row: Row, own: Row): Row {
  return layer.join([row], [ofOwn(layer, row, own)])[0]!;
}

/** What a layer's own input adds. @param row - what gates it */
export function ofOwn(layer: ReferenceLayer, row: Row, own: Row): Row {
  const gates = linear(row, matrix(layer.weights, `${layer.prefix}per_layer_input_gate.weight`));
  const open = gates.map((x, c) => ACTIVATIONS[layer.spec.activation](x, () => 0) * own[c]!);
  const projected = linear(open, matrix(layer.weights, `${layer.prefix}per_layer_projection.weight`));
  return layer.norm([projected], "post_per_layer_input_norm")[0]!;
}

/** Rows times the layer's number, if it has one. */
export function scaled(layer: ReferenceLayer, rows: Rows): Rows {
  if (!layer.spec.layerScalars) return rows;
  const [factor] = layer.vector("layer_scalar");
  return rows.map((row) => row.map((x) => x * factor!));
}
