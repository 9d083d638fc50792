/** What layers have in place of attention, or beside it, between its projections (`MixerSpec`); all in float32. */

import {
  type ActiveMixer,
  type ConvolutionSpec,
  type DeltaSpec,
  type LinearAttentionSpec,
  linearChannels,
  type Mamba2Spec,
} from "../../model/mixer_spec.ts";
import { DELTA_NORM, FILTER_MODULES, LINEAR_MODULES, partMultipliers } from "../../model/mixer_weights.ts";
import type { LayerMatrix } from "../../model/projections.ts";
import type { Value } from "../ir/graph.ts";
import type { GraphBuilder } from "../ir/graph_builder.ts";
import { softplus } from "../ir/operators.ts";
import { type ConvolutionInputs, convolve, type Filters } from "./convolution.ts";
import { norm, silu, unitLength } from "./formulas.ts";
import type { LayerStructure, LayerValues, LinearAttentionInputs } from "./layer_structure.ts";
import { linearAttention } from "./linear_attention.ts";
import type { WeightSupply } from "./weight_supply.ts";

/** What a mixer reads. */
export interface MixerParts<Spec extends ActiveMixer> {
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

/** A short convolution: c * conv(b * x), where b, c and x are the thirds of what in_proj gives. */
export function shortConvolution(
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

/** Gated DeltaNet: queries and keys of length 1, outputs normed by head and then gated. */
export function gatedDeltaNet(
  b: GraphBuilder,
  { mixer, structure, weights, project }: MixerParts<DeltaSpec>,
  { filters, past, paths }: LinearAttentionInputs,
): Mixed {
  const { keyHeads, keyDim, valueHeads, valueDim } = mixer;
  const { keys, values, filtered } = linearChannels(mixer);
  const entering = project("linear_attn.in_proj_qkv", filtered);
  const { output, state } = convolve(b, entering, { ...filtersOf(weights, mixer, filtered), ...filters });
  const [queries, keyed, valued] = split(b, silu(b, output), [keys, keys, values]) as [Value, Value, Value];
  const ofKeys = (x: Value): Value => unitLength(b, heads(b, x, [keyHeads, keyDim]));
  const steps = stepsOf(b, { mixer, weights }, project("linear_attn.in_proj_a", valueHeads));
  const strength = b.sigmoid(project("linear_attn.in_proj_b", valueHeads));
  const { output: read, state: present } = linearAttention(
    b,
    {
      queries: ofKeys(queries),
      keys: ofKeys(keyed),
      values: heads(b, valued, [valueHeads, valueDim]),
      decay: decayOf(b, { mixer, weights, steps }),
      strength: mixer.overcorrects ? b.mul(strength, b.scalar(2)) : strength,
    },
    { sizes: mixer, scale: keyDim ** -0.5, ...orderOf(b, past, paths) },
  );
  const weight = weights.tensor(`${DELTA_NORM}.weight`, [valueDim]);
  const { normEps = structure.normEps } = mixer;
  const normed = norm(b, read, { ...structure, normEps, normType: "rms", normOffset: 0, weight, bias: null });
  const gate = silu(b, project("linear_attn.in_proj_z", values));
  return {
    output: b.mul(b.reshape(normed, gate.shape), gate),
    projection: "linear_attn.out_proj",
    carried: () => ({ state: state(), recurrent: b.cast(present!, past!.type) }),
  };
}

/** Mamba 2: values times their step are added to the states, outputs gated and then normed by key head. */
export function mamba2(
  b: GraphBuilder,
  { mixer, structure, weights, project }: MixerParts<Mamba2Spec>,
  { filters, past, paths }: LinearAttentionInputs,
): Mixed {
  const { keyHeads, keyDim, valueHeads, valueDim } = mixer;
  const { keys, values, filtered } = linearChannels(mixer);
  const projected = multiplied(b, project("mamba.in_proj", values + filtered + valueHeads), mixer);
  const [gate, entering, rates] = split(b, projected, [values, filtered, valueHeads]) as [
    Value,
    Value,
    Value,
  ];
  const { output, state } = convolve(b, entering, { ...filtersOf(weights, mixer, filtered), ...filters });
  const active = silu(b, output);
  // Biases of filters would let padding into the states.
  const seen = filters.visible === undefined ? active : b.mul(active, filters.visible);
  const [valued, keyed, queries] = split(b, seen, [values, keys, keys]) as [Value, Value, Value];
  const byHead = heads(b, valued, [valueHeads, valueDim]);
  const steps = stepsOf(b, { mixer, weights }, rates);
  const perHead = (x: Value): Value => b.reshape(x, [...x.shape, 1]);
  const { output: read, state: present } = linearAttention(
    b,
    {
      queries: heads(b, queries, [keyHeads, keyDim]),
      keys: heads(b, keyed, [keyHeads, keyDim]),
      values: b.mul(byHead, perHead(steps)),
      decay: decayOf(b, { mixer, weights, steps }),
      strength: null,
    },
    { sizes: mixer, scale: 1, ...orderOf(b, past, paths) },
  );
  const passed = b.mul(byHead, perHead(weights.tensor("mamba.D", [valueHeads])));
  const rule = { ...structure, normType: "rms", normOffset: 0, weight: null, bias: null } as const;
  const gated = (x: Value): Value => b.mul(x, silu(b, gate));
  const normed = (x: Value): Value => {
    const byKeyHead = norm(b, heads(b, x, [keyHeads, values / keyHeads]), rule);
    return b.mul(b.reshape(byKeyHead, gate.shape), weights.tensor("mamba.norm.weight", [values]));
  };
  const mixed = b.reshape(b.add(read, passed), gate.shape);
  const outputs = {
    after_gates: () => normed(gated(mixed)),
    before_gates: () => gated(normed(mixed)),
    none: () => gated(mixed),
  };
  return {
    output: outputs[mixer.norm ?? "after_gates"](),
    projection: "mamba.out_proj",
    carried: () => ({ state: state(), recurrent: b.cast(present!, past!.type) }),
  };
}

/** What in_proj gives, [B, T, channels], with the multipliers of its parts. */
function multiplied(b: GraphBuilder, projected: Value, mixer: Mamba2Spec): Value {
  const factors = partMultipliers(mixer);
  return factors === null ? projected : b.mul(projected, b.vector(factors));
}

/** Parts of the last axis, of these sizes. */
function split(b: GraphBuilder, x: Value, sizes: readonly number[]): readonly Value[] {
  let end = 0;
  return sizes.map((size) => {
    end += size;
    return b.slice(x, 2, { start: end - size, end });
  });
}

/** x [B, T, count * size] by head, [B, T, count, size]. */
function heads(b: GraphBuilder, x: Value, [count, size]: readonly [number, number]): Value {
  return b.reshape(x, [...x.shape.slice(0, 2), count, size]);
}

/** The past of linear attention and the sequences of forests, as `linearAttention` takes them. */
function orderOf(
  b: GraphBuilder,
  past: Value | null,
  paths: LinearAttentionInputs["paths"],
): Pick<Parameters<typeof linearAttention>[2], "state" | "paths"> {
  return { ...(past && { state: b.cast(past, "float32") }), ...(paths && { paths }) };
}

/** Where the tensors of linear attention come from. */
interface LinearTensors {
  readonly mixer: LinearAttentionSpec;
  readonly weights: WeightSupply;
}

/** Steps of every token and head: softplus(x + dt_bias), [B, T, valueHeads]. @param x - as projected */
function stepsOf(b: GraphBuilder, tensors: LinearTensors, x: Value): Value {
  return softplus(b, b.add(x, headVector(tensors, "dt_bias")));
}

/** Logarithms of what is left of states: -e^A_log times the steps. */
function decayOf(b: GraphBuilder, { steps, ...tensors }: LinearTensors & { readonly steps: Value }): Value {
  return b.neg(b.mul(b.exp(headVector(tensors, "A_log")), steps));
}

function headVector({ mixer, weights }: LinearTensors, name: string): Value {
  return weights.tensor(`${LINEAR_MODULES[mixer.type]}.${name}`, [mixer.valueHeads]);
}

function filtersOf(weights: WeightSupply, mixer: ActiveMixer, channels: number): Filters {
  const module = FILTER_MODULES[mixer.type];
  return {
    weight: weights.tensor(`${module}.weight`, [channels, 1, mixer.length]),
    bias: hasFilterBiases(mixer) ? weights.tensor(`${module}.bias`, [channels]) : null,
  };
}

function hasFilterBiases(mixer: ActiveMixer): boolean {
  if (mixer.type === "delta") return false;
  return mixer.type === "mamba2" ? mixer.filterBiases : mixer.biases;
}
