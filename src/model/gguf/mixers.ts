/**
 * What layers have in place of attention, or beside it, in the metadata of GGUF files, both ways (load_arch_hparams of
 * lfm2.cpp, qwen35.cpp, granite-hybrid.cpp and falcon-h1.cpp in src/models/ of llama.cpp).
 */
import { type EncodedValue, flags, u32 } from "../../io/formats/gguf_values.ts";
import { convolutionsOf, linearAttentionsOf } from "../mixer_layers.ts";
import {
  type ConvolutionSpec,
  type DeltaSpec,
  FILTER_LENGTHS,
  type LinearAttentionSpec,
  linearChannels,
  type Mamba2Spec,
  type MixerSpec,
  STATE_LIMITS,
} from "../mixer_spec.ts";
import { FILTER_MODULES, LINEAR_MODULES } from "../mixer_weights.ts";
import type { ModelSpec } from "../spec.ts";
import type { GgufArchitecture } from "./architecture.ts";
import type { GgufKeys } from "./keys.ts";
import { hasWeight } from "./names.ts";

/** Tokens that the filters of convolutions see. */
const CONVOLUTION_LENGTH = "shortconv.l_cache";

/** Sizes of Mamba 2, and of a delta rule. */
const LINEAR_KEYS = {
  length: "ssm.conv_kernel",
  keyHeads: "ssm.group_count",
  valueHeads: "ssm.time_step_rank",
  keyDim: "ssm.state_size",
  /** Channels of all value heads. */
  values: "ssm.inner_size",
} as const;

/** Which layers have none: each n-th, or as a flag for each layer says, true where it has a delta rule. */
const INTERVAL = "full_attention_interval";
const RECURRENT = "attention.recurrent_layers";
/** n in files without the key. */
const USUAL_INTERVAL = 4;

/**
 * What each layer has in place of attention; null for attention.
 * @param groups - key/value heads of each layer
 * @param neurons - of each layer
 * @throws GpruneError BAD_FILE for sizes that are impossible, or where no layer has attention
 */
export function mixersOf(
  keys: GgufKeys,
  architecture: GgufArchitecture,
  { groups, neurons }: Readonly<Record<"groups" | "neurons", readonly number[]>>,
): readonly (MixerSpec | null)[] {
  if (architecture.beside) return groups.map(() => null);
  switch (architecture.mixer) {
    case null:
      return groups.map(() => null);
    case "convolution":
      return withoutHeads(keys, groups, () => convolutionOf(keys));
    case "mamba2": {
      const mixers = withoutHeads(keys, groups, (layer) => mambaOf(keys, architecture, layer));
      if (!architecture.blocks) return mixers;
      return mixers.map((mixer, layer) => (mixer !== null && neurons[layer]! > 0 ? { type: "none" } : mixer));
    }
    case "delta": {
      const delta = { type: "delta", ...linearSizesOf(keys) } as const;
      return recurrentLayers(keys, groups.length).map((recurrent) => (recurrent ? delta : null));
    }
  }
}

/**
 * What all layers have beside attention; null for nothing.
 * @throws GpruneError BAD_FILE for sizes that are impossible
 */
export function besideOf(keys: GgufKeys, architecture: GgufArchitecture): Mamba2Spec | null {
  return architecture.beside ? mambaOf(keys, architecture, 0) : null;
}

/**
 * The same in all layers without key/value heads.
 * @param mixerOf - given the first of them
 */
function withoutHeads(
  keys: GgufKeys,
  groups: readonly number[],
  mixerOf: (layer: number) => MixerSpec,
): readonly (MixerSpec | null)[] {
  if (groups.every((units) => units === 0)) throw keys.bad("attention.head_count_kv", "heads in a layer", 0);
  const first = groups.indexOf(0);
  if (first < 0) return groups.map(() => null);
  const mixer = mixerOf(first);
  return groups.map((units) => (units === 0 ? mixer : null));
}

function convolutionOf(keys: GgufKeys): ConvolutionSpec {
  return { type: "convolution", length: filterLength(keys, CONVOLUTION_LENGTH), biases: false };
}

function filterLength(keys: GgufKeys, name: string): number {
  const { least, most } = FILTER_LENGTHS;
  const length = keys.size(name, most);
  if (length < least) throw keys.bad(name, `at least ${least} tokens`, length);
  return length;
}

function mambaOf(keys: GgufKeys, architecture: GgufArchitecture, layer: number): Mamba2Spec {
  const sizes = linearSizesOf(keys);
  const width = 2 * keys.size("embedding_length");
  const values = sizes.valueHeads * sizes.valueDim;
  if (values !== width && !hasAnyWidth(architecture))
    throw keys.bad(LINEAR_KEYS.values, `${width}, twice the embedding_length`, values);
  const has = (part: string): boolean =>
    hasWeight(keys.file.source, `model.layers.${layer}.${part}`, architecture);
  const filterBiases = has(`${FILTER_MODULES.mamba2}.bias`);
  const isNormed = !architecture.beside || has(`${LINEAR_MODULES.mamba2}.norm.weight`);
  return { type: "mamba2", ...sizes, biases: false, filterBiases, ...(!isNormed && { norm: "none" }) };
}

/** Whether heads of Mamba 2 may be of any width together; else they are twice as wide as the hidden state. */
export function hasAnyWidth({ blocks, beside }: GgufArchitecture): boolean {
  return blocks || beside;
}

function linearSizesOf(keys: GgufKeys): Omit<DeltaSpec, "type"> {
  const { heads, channels } = STATE_LIMITS;
  const keyHeads = keys.size(LINEAR_KEYS.keyHeads, heads);
  const valueHeads = keys.size(LINEAR_KEYS.valueHeads, heads);
  if (valueHeads % keyHeads !== 0) {
    const expected = `a multiple of ${keyHeads}, the ${LINEAR_KEYS.keyHeads}`;
    throw keys.bad(LINEAR_KEYS.valueHeads, expected, valueHeads);
  }
  const values = keys.size(LINEAR_KEYS.values, heads * channels);
  const valueDim = values / valueHeads;
  if (!Number.isInteger(valueDim) || valueDim > channels) {
    const expected = `a multiple of ${valueHeads}, the ${LINEAR_KEYS.valueHeads}, by at most ${channels}`;
    throw keys.bad(LINEAR_KEYS.values, expected, values);
  }
  return {
    length: filterLength(keys, LINEAR_KEYS.length),
    keyHeads,
    valueHeads,
    keyDim: keys.size(LINEAR_KEYS.keyDim, channels),
    valueDim,
  };
}

/** Whether each layer has a delta rule. */
function recurrentLayers(keys: GgufKeys, count: number): readonly boolean[] {
  const recurrent = saidLayers(keys, count);
  if (recurrent.includes(false)) return recurrent;
  const name = keys.metadata.has(keys.key(RECURRENT)) ? RECURRENT : INTERVAL;
  throw keys.bad(name, "a layer with attention", "linear attention alone");
}

function saidLayers(keys: GgufKeys, count: number): readonly boolean[] {
  const { metadata } = keys;
  if (metadata.has(keys.key(RECURRENT))) {
    // The layers that guess are counted, too.
    const stored = keys.size("block_count");
    const flagged = metadata.optionalFlags(keys.key(RECURRENT), stored);
    if (flagged === undefined) throw keys.bad(RECURRENT, `${stored} times true or false`, "a single value");
    return flagged.slice(0, count);
  }
  const every = metadata.has(keys.key(INTERVAL)) ? keys.size(INTERVAL) : USUAL_INTERVAL;
  return Array.from({ length: count }, (_, layer) => (layer + 1) % every !== 0);
}

/** The keys for a model. */
export function mixerEntries(spec: ModelSpec): readonly (readonly [string, EncodedValue])[] {
  const [convolution] = convolutionsOf(spec);
  const [linear] = linearAttentionsOf(spec);
  return [
    ...(convolution === undefined ? [] : [[CONVOLUTION_LENGTH, u32(convolution.length)] as const]),
    ...(linear === undefined ? [] : linearEntries(linear)),
    ...(linear?.type === "delta" ? [recurrentEntry(spec)] : []),
  ];
}

function linearEntries(linear: LinearAttentionSpec): readonly (readonly [string, EncodedValue])[] {
  return [
    [LINEAR_KEYS.length, u32(linear.length)],
    [LINEAR_KEYS.keyHeads, u32(linear.keyHeads)],
    [LINEAR_KEYS.valueHeads, u32(linear.valueHeads)],
    [LINEAR_KEYS.keyDim, u32(linear.keyDim)],
    [LINEAR_KEYS.values, u32(linearChannels(linear).values)],
  ];
}

/** Says which layers have linear attention. */
function recurrentEntry({ layers }: ModelSpec): readonly [string, EncodedValue] {
  const recurrent = layers.map(({ mixer }) => mixer !== undefined);
  const every = recurrent.indexOf(false) + 1;
  const isUsual = recurrent.every((value, index) => value === ((index + 1) % every !== 0));
  return isUsual ? [INTERVAL, u32(every)] : [RECURRENT, flags(recurrent)];
}
