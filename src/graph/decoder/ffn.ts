/** The FFN of a layer: its neurons, or those of its experts (experts.ts), and what down_proj makes of them. */
import { internalError } from "../../errors.ts";
import { EXPERT_NORMS, SHARED_GATE } from "../../model/expert_weights.ts";
import type { Projection } from "../../model/projections.ts";
import { ACTIVATION_MODULE, moduleOf } from "../../model/weight_names.ts";
import { activationParameters, BLOCK_NORMS } from "../../model/weights.ts";
import type { Value } from "../ir/graph.ts";
import { type Routing, routedFfn, routing, sizeOfPart, weightedByExpert } from "./experts.ts";
import { ACTIVATIONS, gatedFactor } from "./formulas.ts";
import { gaussianCut } from "./gaussian_cut.ts";
import type { LayerOperators } from "./layer_operators.ts";
import type { HalfValues } from "./layer_structure.ts";

/** Values of an FFN. */
export interface FfnValues extends Pick<HalfValues, "channels" | "toTap"> {
  /** [B, T, C] */
  readonly output: Value;
}

/** The neurons, and what down_proj makes of them, with the output of a shared expert. */
export function ffn(layer: LayerOperators, input: Value): FfnValues {
  const { b, structure, weights } = layer;
  const { experts, hiddenSize, norms, sparse } = structure;
  const x = layer.blockNorm(input, BLOCK_NORMS[norms].ffn.input);
  if (experts === undefined) {
    const channels = neurons(layer, x);
    return { channels, output: layer.linear(channels, "down_proj", hiddenSize) };
  }
  const { shared, ownNorms, averaged } = experts;
  const normed = (value: Value, name: string): Value => (ownNorms ? layer.blockNorm(value, name) : value);
  const router = routing(b, ownNorms ? input : x, { experts, rule: structure, weights });
  const read = normed(ownNorms ? input : x, EXPERT_NORMS.input);
  const values = sparse === undefined ? weighted(layer, read, router) : routed(layer, read, router);
  const hasBiases = structure.biases.includes("down_proj");
  const written = hasBiases ? b.add(values.output, sharesOfBiases(layer, router)) : values.output;
  const output = normed(written, EXPERT_NORMS.output);
  if (shared === undefined) return { ...values, output };
  const beside = normed(sharedExpert(layer, x, shared), EXPERT_NORMS.beside);
  return { ...values, output: layer.scaled(b.add(output, beside), averaged && 0.5) };
}

/**
 * act(gate(x)) * up(x), or act(up(x)), [B, T, F], in float32, since Gemma 3's exceed the range of float16.
 * @param factor - multiplies gate(x) and up(x), [B, T, F]
 */
function neurons(layer: LayerOperators, x: Value, factor = (inputs: Value): Value => inputs): Value {
  const { b, structure, weights, sizes } = layer;
  const parameters = new Map(
    activationParameters(structure).map(([name, shape]) => {
      return [name, weights.tensor(`${ACTIVATION_MODULE}.${name}`, shape)];
    }),
  );
  const linear = (projection: Projection): Value =>
    factor(b.cast(layer.linear(x, projection, sizes.F), "float32"));
  return gated(layer, linear, (name) => parameters.get(name)!);
}

/** Neurons from what the input projections give. @param parameterOf - gives parameters of the activation */
function gated(
  layer: LayerOperators,
  linear: (projection: "gate_proj" | "up_proj") => Value,
  parameterOf: (name: string) => Value = noParameter,
): Value {
  const { b, structure } = layer;
  const { activation, gated: isGated, multipliers, gateCut } = structure;
  const entering = isGated ? layer.scaled(linear("gate_proj"), multipliers?.gates) : linear("up_proj");
  const kept = gateCut === undefined ? entering : gaussianCut(b, entering, gateCut);
  const active = ACTIVATIONS[activation](b, kept, parameterOf);
  return isGated ? b.mul(active, gatedFactor(b, linear("up_proj"), activation)) : active;
}

/** Activations of experts, and of gates of own inputs, have no parameters in any family. */
export function noParameter(name: string): never {
  throw internalError(`no parameter ${name} of an activation`);
}

/** The biases of what a token's experts write, times their weights, [B, T, C]. */
function sharesOfBiases({ b, structure, weights }: LayerOperators, router: Routing): Value {
  const shape = [router.experts.count, structure.hiddenSize];
  return b.matmul(router.weights, weights.tensor(`${moduleOf("down_proj")}.bias`, shape));
}

/** Of all experts, computed for every token. What neurons are made of is linear in x, as it has no biases there. */
function weighted(layer: LayerOperators, x: Value, router: Routing): FfnValues {
  const byWeight = (values: Value): Value => weightedByExpert(layer.b, values, router);
  const channels = router.experts.weighsInput ? neurons(layer, x, byWeight) : byWeight(neurons(layer, x));
  return { channels, output: layer.linear(channels, "down_proj", layer.structure.hiddenSize) };
}

/** Of experts apart, the output alone is a value of the whole graph. */
function routed(layer: LayerOperators, x: Value, router: Routing): FfnValues {
  if (layer.structure.sparse !== "apart") return ofOwnTokens(layer, x, router);
  let values: FfnValues | undefined;
  const output = layer.b.inBody(x, (state) => {
    values = ofOwnTokens(layer, state, router);
    return values.output;
  });
  return { ...values!, output };
}

/** Of every expert for its own tokens. */
function ofOwnTokens(layer: LayerOperators, x: Value, router: Routing): FfnValues {
  const { b, structure, weights, sizes, projected } = layer;
  const { F } = sizes;
  const { count } = router.experts;
  const values = routedFfn(b, x, {
    ...router,
    neurons: F,
    slices: structure.sparse === "apart",
    product: (rows, matrix, groups) => {
      const outputs = matrix === "down_proj" ? structure.hiddenSize : sizeOfPart(F, count);
      const product = b.cast(weights.expertProduct(rows, { matrix, groups, outputs }), "float32");
      if (!layer.hasBias(matrix)) return product;
      const biases = b.reshape(weights.tensor(`${moduleOf(matrix)}.bias`, [F]), [count, outputs]);
      return b.add(product, groups.rowsOf(biases));
    },
    compute: (product) => gated(layer, product),
  });
  projected.set("down_proj", values.output);
  return values;
}

/** The output of the shared expert, [B, T, C]. */
function sharedExpert(layer: LayerOperators, x: Value, size: number): Value {
  const { b, structure, weights } = layer;
  const { hiddenSize, experts } = structure;
  const linear = (matrix: "gate_proj" | "up_proj"): Value =>
    b.cast(layer.linear(x, `mlp.shared_expert.${matrix}`, size), "float32");
  const active = gated(layer, linear);
  const output = b.cast(layer.linear(active, "mlp.shared_expert.down_proj", hiddenSize), "float32");
  if (experts?.sharedUngated) return output;
  const gate = weights.tensor(`${SHARED_GATE}.weight`, [1, hiddenSize]);
  return b.mul(output, b.sigmoid(b.matmul(x, gate, { transB: true })));
}
