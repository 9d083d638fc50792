/** The tensors of what layers have in place of attention (`MixerSpec`), by their names in a layer. */
import {
  type ActiveMixer,
  type ConvolutionSpec,
  type DeltaSpec,
  hasProjectionBias,
  linearChannels,
  type Mamba2Spec,
  type MixerSpec,
} from "./mixer_spec.ts";

/** The modules that hold filters, as checkpoints name them. */
export const FILTER_MODULES: Readonly<Record<ActiveMixer["type"], string>> = {
  convolution: "conv.conv",
  delta: "linear_attn.conv1d",
  mamba2: "mamba.conv1d",
};

/** The modules of linear attention. */
export const LINEAR_MODULES = { delta: "linear_attn", mamba2: "mamba" } as const;

/** Logarithms of the rates at which states fade. */
export const FADING_RATES: Readonly<Record<keyof typeof LINEAR_MODULES, string>> = {
  delta: `${LINEAR_MODULES.delta}.A_log`,
  mamba2: `${LINEAR_MODULES.mamba2}.A_log`,
};

/** The norm of a delta rule's outputs, which has no offset in any family. */
export const DELTA_NORM: string = `${LINEAR_MODULES.delta}.norm`;

/** Names and shapes of tensors. */
type PartShapes = readonly (readonly [string, readonly number[]])[];

export function mixerParts(mixer: MixerSpec, hiddenSize: number): PartShapes {
  switch (mixer.type) {
    case "convolution":
      return convolutionParts(mixer, hiddenSize);
    case "delta":
      return deltaParts(mixer, hiddenSize);
    case "mamba2":
      return mamba2Parts(mixer, hiddenSize);
    case "none":
      return [];
  }
}

function convolutionParts({ length, biases }: ConvolutionSpec, hiddenSize: number): PartShapes {
  return [
    ...withBias("conv.in_proj", [3 * hiddenSize, hiddenSize], biases),
    ...withBias(FILTER_MODULES.convolution, [hiddenSize, 1, length], biases),
    ...withBias("conv.out_proj", [hiddenSize, hiddenSize], biases),
  ];
}

function deltaParts(delta: DeltaSpec, hiddenSize: number): PartShapes {
  const { length, valueHeads, valueDim } = delta;
  const { values, filtered } = linearChannels(delta);
  return [
    ["linear_attn.in_proj_qkv.weight", [filtered, hiddenSize]],
    ["linear_attn.in_proj_z.weight", [values, hiddenSize]],
    ["linear_attn.in_proj_b.weight", [valueHeads, hiddenSize]],
    ["linear_attn.in_proj_a.weight", [valueHeads, hiddenSize]],
    [`${FILTER_MODULES.delta}.weight`, [filtered, 1, length]],
    ["linear_attn.dt_bias", [valueHeads]],
    [FADING_RATES.delta, [valueHeads]],
    [`${DELTA_NORM}.weight`, [valueDim]],
    ["linear_attn.out_proj.weight", [hiddenSize, values]],
  ];
}

function mamba2Parts(mamba: Mamba2Spec, hiddenSize: number): PartShapes {
  const { length, valueHeads, filterBiases, norm } = mamba;
  const { values, filtered } = linearChannels(mamba);
  return [
    ...withBias(
      "mamba.in_proj",
      [values + filtered + valueHeads, hiddenSize],
      hasProjectionBias(mamba, "in_proj"),
    ),
    ...withBias(FILTER_MODULES.mamba2, [filtered, 1, length], filterBiases),
    ["mamba.dt_bias", [valueHeads]],
    [FADING_RATES.mamba2, [valueHeads]],
    ["mamba.D", [valueHeads]],
    ...(norm === "none" ? [] : [["mamba.norm.weight", [values]] as const]),
    ...withBias("mamba.out_proj", [hiddenSize, values], hasProjectionBias(mamba, "out_proj")),
  ];
}

/** The multipliers of the parts of what in_proj gives, one for each row; null where all are 1. */
export function partMultipliers(mamba: Mamba2Spec): Float32Array | null {
  const { multipliers, valueHeads } = mamba;
  if (multipliers === undefined || multipliers.parts.every((factor) => factor === 1)) return null;
  const { keys, values } = linearChannels(mamba);
  const sizes = [values, values, keys, keys, valueHeads];
  return Float32Array.from(sizes.flatMap((size, part) => Array<number>(size).fill(multipliers.parts[part]!)));
}

function withBias(module: string, shape: readonly number[], biased: boolean): PartShapes {
  const weight = [`${module}.weight`, shape] as const;
  return biased ? [weight, [`${module}.bias`, [shape[0]!]]] : [weight];
}
