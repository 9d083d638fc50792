/** What layers have in place of attention, or beside it, as JSON values. */
import type { MixerMultipliers } from "./multipliers_spec.ts";

/** What mixes tokens in place of attention, or nothing. */
export type MixerSpec = ActiveMixer | NoMixer;

/** What mixes tokens. */
export type ActiveMixer = ConvolutionSpec | LinearAttentionSpec;

/** The layer is an FFN alone (Nemotron-H). */
export interface NoMixer {
  readonly type: "none";
}

/**
 * A short convolution in place of attention (LFM2): out_proj(c * conv(b * x)), with b, c and x the thirds of in_proj's
 * output, and a filter of its own for each channel, over the last tokens.
 */
export interface ConvolutionSpec {
  readonly type: "convolution";
  /** Tokens that a filter sees, the present one included. */
  readonly length: number;
  /** Whether the filters and both projections carry biases. */
  readonly biases: boolean;
}

/** Linear attention, where every value head has a state of keyDim x valueDim numbers that fades from token to token. */
export type LinearAttentionSpec = DeltaSpec | Mamba2Spec;

/** Sizes of linear attention. A key head serves valueHeads / keyHeads consecutive value heads. */
interface LinearAttentionSizes {
  /** Tokens that a filter sees, the present one included; queries, keys and values pass one for each channel first. */
  readonly length: number;
  readonly keyHeads: number;
  readonly valueHeads: number;
  /** Channels of a query or key head. */
  readonly keyDim: number;
  /** Channels of a value head. */
  readonly valueDim: number;
}

/**
 * By the gated delta rule (arXiv 2412.06464), as in Qwen 3.5: each token corrects what its key finds in the state.
 * Outputs are normed by head, then gated.
 */
export interface DeltaSpec extends LinearAttentionSizes {
  readonly type: "delta";
  /** Tokens correct up to twice what their keys find, so that states may change sign (arXiv 2411.12537). */
  readonly overcorrects?: true;
  /** Epsilon of the norm of outputs, where it is not that of the model's norms. */
  readonly normEps?: number;
}

/**
 * Mamba 2 (arXiv 2405.21060), as in Granite 4: each token adds its value to the state. Outputs are gated, then normed
 * by key head; C, B and x there are queries, keys and values here.
 */
export interface Mamba2Spec extends LinearAttentionSizes {
  readonly type: "mamba2";
  /** Whether both projections carry biases. */
  readonly biases: boolean;
  /** Whether the second one does, where that differs. */
  readonly outputBias?: boolean;
  /** Whether the filters do. */
  readonly filterBiases: boolean;
  /** Outputs are normed before they are gated, or never; after that where absent. */
  readonly norm?: "before_gates" | "none";
  /** Absent where all are 1. */
  readonly multipliers?: MixerMultipliers;
}

/** Whether a projection of a mixer carries a bias. */
export function hasProjectionBias(mixer: ActiveMixer, projection: "in_proj" | "out_proj"): boolean {
  if (mixer.type === "delta") return false;
  return (
    (mixer.type === "mamba2" && projection === "out_proj" ? mixer.outputBias : undefined) ?? mixer.biases
  );
}

/** Lengths of filters that are read. Filters of a few tokens are used; more would make graphs large. */
export const FILTER_LENGTHS = { least: 2, most: 64 } as const;

/** Most heads of linear attention that are read, and most channels of one. */
export const STATE_LIMITS = { heads: 65_536, channels: 4096 } as const;

/** Channels of the keys and values of linear attention, and of all that its filters see. */
export function linearChannels({ keyHeads, keyDim, valueHeads, valueDim }: LinearAttentionSizes): {
  readonly keys: number;
  readonly values: number;
  readonly filtered: number;
} {
  const [keys, values] = [keyHeads * keyDim, valueHeads * valueDim];
  return { keys, values, filtered: 2 * keys + values };
}

/** The shape of the states of linear attention, for one sequence. */
export function stateShape({
  valueHeads,
  keyDim,
  valueDim,
}: LinearAttentionSizes): readonly [valueHeads: number, keyDim: number, valueDim: number] {
  return [valueHeads, keyDim, valueDim];
}

/** Whether something mixes tokens in place of attention. */
export function isActive(mixer: MixerSpec | undefined): mixer is ActiveMixer {
  return mixer !== undefined && mixer.type !== "none";
}

/** Whether a layer has linear attention. */
export function isLinear(mixer: MixerSpec | undefined): mixer is LinearAttentionSpec {
  return mixer?.type === "delta" || mixer?.type === "mamba2";
}
