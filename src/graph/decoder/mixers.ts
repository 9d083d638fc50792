/** What layers have in place of attention, between its projections (`MixerSpec`); all in float32. */
import {
  type ConvolutionSpec,
  type DeltaSpec,
  deltaChannels,
  type LayerMatrix,
  type MixerSpec,
} from "../../model/spec.ts";
import { DELTA_MODULE, FILTER_MODULES } from "../../model/weights.ts";
import type { GraphBuilder, Value } from "../ir/graph.ts";
import { softplus } from "../ir/operators.ts";
import { type ConvolutionInputs, convolve, type Filters } from "./convolution.ts";
import { deltaRule } from "./delta_rule.ts";
import { norm, silu, unitLength } from "./formulas.ts";
import type { DeltaInputs, LayerStructure, LayerValues } from "./layer_structure.ts";
import type { WeightSupply } from "./weight_supply.ts";

/** What a mixer reads. */
export interface MixerParts<Spec extends MixerSpec> {
  readonly mixer: Spec;
  readonly structure: LayerStructure;
  readonly weights: WeightSupply;
  /** Output of one of the layer's matrices for what the layer reads, [B, T, outputs], float32. */
  project(matrix: LayerMatrix, outputs: number): Value;
}

/** What a mixer gives. */
export interface Mixed extends Pick<LayerValues, "carried"> {
  /** Input of the output projection, [B, T, channels]. */
  readonly output: Value;
  readonly projection: LayerMatrix;
}

/** c * conv(b * x), where b, c and x are the thirds of what in_proj gives. */
export function convolution(
  b: GraphBuilder,
  { mixer, structure, weights, project }: MixerParts<ConvolutionSpec>,
  inputs: ConvolutionInputs,
): Mixed {
  const { hiddenSize } = structure;
  const thirds = project("conv.in_proj", 3 * hiddenSize);
  const third = (index: number): Value =>
    b.slice(thirds, 2, { start: index * hiddenSize, end: (index + 1) * hiddenSize });
  const filters = filtersOf(weights, mixer, hiddenSize);
  const { output, state } = convolve(b, b.mul(third(0), third(2)), { ...filters, ...inputs });
  return {
    output: b.mul(third(1), output),
    projection: "conv.out_proj",
    carried: () => ({ state: state() }),
  };
}

/** The gated delta rule on filtered queries, keys and values, whose output is normed by head and gated. */
export function linearAttention(
  b: GraphBuilder,
  { mixer: delta, structure, weights, project }: MixerParts<DeltaSpec>,
  { filters, past, paths }: DeltaInputs,
): Mixed {
  const { keyHeads, keyDim, valueHeads, valueDim } = delta;
  const { keys, values, filtered } = deltaChannels(delta);
  const entering = project("linear_attn.in_proj_qkv", filtered);
  const { output, state } = convolve(b, entering, { ...filtersOf(weights, delta, filtered), ...filters });
  const active = silu(b, output);
  const heads = (x: Value, count: number, size: number): Value =>
    b.reshape(x, [...x.shape.slice(0, 2), count, size]);
  const part = (start: number, size: number): Value => b.slice(active, 2, { start, end: start + size });
  const ofKeys = (start: number): Value => unitLength(b, heads(part(start, keys), keyHeads, keyDim));
  const { output: read, state: present } = deltaRule(
    b,
    {
      queries: ofKeys(0),
      keys: ofKeys(keys),
      values: heads(part(2 * keys, values), valueHeads, valueDim),
      decay: decayOf(b, weights, project("linear_attn.in_proj_a", valueHeads)),
      strength: b.sigmoid(project("linear_attn.in_proj_b", valueHeads)),
    },
    { delta, ...(past && { state: b.cast(past, "float32") }), ...(paths && { paths }) },
  );
  const weight = weights.tensor(`${DELTA_MODULE}.norm.weight`, [valueDim]);
  const normed = norm(b, read, { ...structure, normType: "rms", normOffset: 0, weight, bias: null });
  const gate = silu(b, project("linear_attn.in_proj_z", values));
  return {
    output: b.mul(b.reshape(normed, gate.shape), gate),
    projection: "linear_attn.out_proj",
    carried: () => ({ state: state(), recurrent: b.cast(present!, past!.type) }),
  };
}

/** Logarithms of what is left of states: -e^A_log softplus(x + dt_bias). @param x - output of in_proj_a */
function decayOf(b: GraphBuilder, weights: WeightSupply, x: Value): Value {
  const vector = (name: string): Value => weights.tensor(`${DELTA_MODULE}.${name}`, x.shape.slice(-1));
  return b.neg(b.mul(b.exp(vector("A_log")), softplus(b, b.add(x, vector("dt_bias")))));
}

function filtersOf(weights: WeightSupply, mixer: MixerSpec, channels: number): Filters {
  const module = FILTER_MODULES[mixer.type];
  const isBiased = mixer.type === "convolution" && mixer.biases;
  return {
    weight: weights.tensor(`${module}.weight`, [channels, 1, mixer.length]),
    bias: isBiased ? weights.tensor(`${module}.bias`, [channels]) : null,
  };
}
