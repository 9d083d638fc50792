/**
 * What layers have in place of attention, in the metadata of GGUF files, both ways (load_arch_hparams of lfm2.cpp and
 * qwen35.cpp in src/models/ of llama.cpp).
 */
import { type EncodedValue, flags, u32 } from "../../io/formats/gguf_values.ts";
import {
  type ConvolutionSpec,
  convolutionsOf,
  type DeltaSpec,
  deltasOf,
  FILTER_LENGTHS,
  linearChannels,
  type MixerSpec,
  type ModelSpec,
  STATE_LIMITS,
} from "../spec.ts";
import type { GgufArchitecture } from "./architecture.ts";
import type { GgufKeys } from "./keys.ts";

/** Tokens that the filters of convolutions see. */
const CONVOLUTION_LENGTH = "shortconv.l_cache";

/** Sizes of a delta rule, under keys that were made for Mamba. */
const DELTA_KEYS = {
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
 * @throws GpruneError BAD_FILE for sizes that are impossible, or where no layer has attention
 */
export function mixersOf(
  keys: GgufKeys,
  { mixer }: GgufArchitecture,
  groups: readonly number[],
): readonly (MixerSpec | null)[] {
  switch (mixer) {
    case null:
      return groups.map(() => null);
    case "convolution": {
      if (groups.every((units) => units === 0))
        throw keys.bad("attention.head_count_kv", "heads in a layer", 0);
      return groups.map((units) => (units === 0 ? convolutionOf(keys) : null));
    }
    case "delta": {
      const delta = deltaOf(keys);
      return recurrentLayers(keys, groups.length).map((recurrent) => (recurrent ? delta : null));
    }
  }
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

function deltaOf(keys: GgufKeys): DeltaSpec {
  const { heads, channels } = STATE_LIMITS;
  const keyHeads = keys.size(DELTA_KEYS.keyHeads, heads);
  const valueHeads = keys.size(DELTA_KEYS.valueHeads, heads);
  if (valueHeads % keyHeads !== 0) {
    const expected = `a multiple of ${keyHeads}, the ${DELTA_KEYS.keyHeads}`;
    throw keys.bad(DELTA_KEYS.valueHeads, expected, valueHeads);
  }
  const values = keys.size(DELTA_KEYS.values, heads * channels);
  const valueDim = values / valueHeads;
  if (!Number.isInteger(valueDim) || valueDim > channels) {
    const expected = `a multiple of ${valueHeads}, the ${DELTA_KEYS.valueHeads}, by at most ${channels}`;
    throw keys.bad(DELTA_KEYS.values, expected, values);
  }
  return {
    type: "delta",
    length: filterLength(keys, DELTA_KEYS.length),
    keyHeads,
    valueHeads,
    keyDim: keys.size(DELTA_KEYS.keyDim, channels),
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
  const [delta] = deltasOf(spec);
  return [
    ...(convolution === undefined ? [] : [[CONVOLUTION_LENGTH, u32(convolution.length)] as const]),
    ...(delta === undefined ? [] : deltaEntries(delta, spec)),
  ];
}

function deltaEntries(delta: DeltaSpec, { layers }: ModelSpec): readonly (readonly [string, EncodedValue])[] {
  const recurrent = layers.map(({ mixer }) => mixer !== undefined);
  const every = recurrent.indexOf(false) + 1;
  const isUsual = recurrent.every((value, index) => value === ((index + 1) % every !== 0));
  return [
    [DELTA_KEYS.length, u32(delta.length)],
    [DELTA_KEYS.keyHeads, u32(delta.keyHeads)],
    [DELTA_KEYS.valueHeads, u32(delta.valueHeads)],
    [DELTA_KEYS.keyDim, u32(delta.keyDim)],
    [DELTA_KEYS.values, u32(linearChannels(delta).values)],
    isUsual ? [INTERVAL, u32(every)] : [RECURRENT, flags(recurrent)],
  ];
}
