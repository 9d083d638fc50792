/** Where the weights of a model are stored in a GGUF file, for reading and for writing. */

import { getOrMake } from "../../base/map_values.ts";
import { CORRECTION, SHARED_GATE } from "../expert_weights.ts";
import { mixerOf } from "../mixer_layers.ts";
import { linearChannels } from "../mixer_spec.ts";
import { DELTA_NORM, FADING_RATES, LINEAR_MODULES } from "../mixer_weights.ts";
import { type ReorderedHeads, reorderedWeights } from "../rotary_rows.ts";
import { expertNeurons, type ModelSpec } from "../spec.ts";
import { type StackedExperts, stackedShape, stackedWeights } from "../stacked_experts.ts";
import { projectionName } from "../weight_names.ts";
import { type WeightSpec, weightsOf } from "../weights.ts";
import type { GgufArchitecture } from "./architecture.ts";
import { type JoinedRows, joinedWeights } from "./joined_rows.ts";
import { forLatents, headMatrices } from "./latents.ts";
import { ggufName, isFused, isStreamMatrix } from "./names.ts";
import { type TiledHeads, tiledWeights } from "./value_heads.ts";

/** Where and how one weight is stored. */
export interface GgufPlace {
  readonly weight: WeightSpec;
  /** Name in the file. */
  readonly tensor: string;
  /** The tensor holds several weights; the rows of this one follow those of the weights before it. */
  readonly fused: boolean;
  /** The heads whose rows are stored in pairs; null where they are in place. */
  readonly paired: ReorderedHeads | null;
  /** The value heads that are stored in tiles; null where they are in place. */
  readonly tiled: TiledHeads | null;
  /** The experts, or heads, whose matrices follow one another; null for all other weights. */
  readonly experts: StackedExperts | null;
  /** These are transposed. */
  readonly turned: boolean;
  /** Its rows where they take turns with those of another weight; null where they do not. */
  readonly joined: JoinedRows | null;
  /** How elements are stored; null where they are as they are. */
  readonly values: StoredValues | null;
  /** The matrices of the tensor, of which this weight is one; null where the tensor has all its rows on one axis. */
  readonly stack: number | null;
  /** The shape in the file where it is not that of the weight, beside axes of size 1 within rows; null elsewhere. */
  readonly reshaped: readonly number[] | null;
}

/** Elements that a file has in another form. */
export interface StoredValues {
  readonly toFile: (value: number) => number;
  /** NaN for a value that no element has in the file. */
  readonly fromFile: (value: number) => number;
}

/** Weights of norms with an offset of 1. */
const OFFSET: StoredValues = { toFile: (value) => value + 1, fromFile: (value) => value - 1 };

/** e^x is 0 in float32. */
const LEAST_LOG = -104;

/** The rates by which the states of linear attention fade, -e^x for logarithms x. */
const RATES: StoredValues = {
  toFile: (value) => -Math.exp(value),
  fromFile: (value) => Math.max(Math.log(-value), LEAST_LOG),
};

/** A tensor of a file and the weights whose rows it holds. */
export interface GgufTensorPlan {
  readonly name: string;
  readonly shape: readonly number[];
  readonly parts: readonly GgufPlace[];
}

/** The places of a model's weights, in the order of `weightsOf`. */
export function ggufPlaces(spec: ModelSpec, architecture: GgufArchitecture): readonly GgufPlace[] {
  const paired = reorderedWeights(spec, architecture.permuted ? "pairs" : "halves");
  const tiled = architecture.tiledHeads ? tiledWeights(spec) : new Map<string, TiledHeads>();
  const experts = stackedWeights(spec);
  const heads = headMatrices(spec);
  const named = forLatents(architecture, spec);
  const joined = joinedWeights(spec, architecture);
  const reshaped = new Map<string, readonly number[]>([...vectorsInMatrices(spec), ...routerVectors(spec)]);
  return weightsOf(spec).flatMap((weight) => {
    const { name } = weight;
    const tensor = ggufName(name, named, spec.layers);
    if (tensor === undefined) return [];
    const { count, turned = false } = heads.get(name) ?? {};
    const ofHeads = count === undefined ? null : { count, inRow: turned };
    return [
      {
        weight,
        tensor,
        fused: isFused(name, architecture),
        paired: paired.get(name) ?? null,
        tiled: tiled.get(name) ?? null,
        experts: experts.get(name) ?? ofHeads,
        turned,
        joined: joined.get(name) ?? null,
        values: storedValues(name, spec, architecture),
        stack: isStreamMatrix(name) ? spec.updates!.streams - 1 : null,
        reshaped: reshaped.get(name) ?? null,
      },
    ];
  });
}

function storedValues(
  name: string,
  { normOffset }: ModelSpec,
  { offsetNorms }: GgufArchitecture,
): StoredValues | null {
  if (Object.values(FADING_RATES).some((rates) => name.endsWith(`.${rates}`))) return RATES;
  const isNorm = name.endsWith("norm.weight") && !name.endsWith(`.${DELTA_NORM}.weight`);
  return offsetNorms && normOffset === 1 && isNorm ? OFFSET : null;
}

/** The vectors of Mamba 2 that are matrices in a file (modify_tensors of conversion/mamba.py), by name. */
function vectorsInMatrices({ layers }: ModelSpec): ReadonlyMap<string, readonly [number, number]> {
  const entries = layers.flatMap((layer, index) => {
    const mixer = mixerOf(layer);
    if (mixer?.type !== "mamba2") return [];
    const { keyHeads, valueHeads } = mixer;
    const parts: readonly (readonly [string, readonly [number, number]])[] = [
      [FADING_RATES.mamba2, [valueHeads, 1]],
      [`${LINEAR_MODULES.mamba2}.D`, [valueHeads, 1]],
      [`${LINEAR_MODULES.mamba2}.norm.weight`, [keyHeads, linearChannels(mixer).values / keyHeads]],
    ];
    return parts.map(([part, shape]) => [`model.layers.${index}.${part}`, shape] as const);
  });
  return new Map(entries);
}

/**
 * The gates of shared experts, [1, C], which are vectors in a file, score correction biases, [E], which may be
 * matrices of one row in one (ERNIE 4.5), and biases of experts' neurons, [F], which are [E, F / E] in one, by name.
 */
function routerVectors({ layers, hiddenSize }: ModelSpec): ReadonlyMap<string, readonly number[]> {
  const entries = layers.flatMap((layer, index): readonly (readonly [string, readonly number[]])[] => {
    const { experts } = layer;
    if (experts === undefined) return [];
    const prefix = `model.layers.${index}.`;
    const ofNeurons = [experts.count, expertNeurons(layer)];
    return [
      [`${prefix}${SHARED_GATE}.weight`, [hiddenSize]],
      [`${prefix}${CORRECTION}`, [experts.count]],
      [projectionName(index, "gate_proj", "bias"), ofNeurons],
      [projectionName(index, "up_proj", "bias"), ofNeurons],
    ];
  });
  return new Map(entries);
}

/** The tensors of a file that holds the model. */
export function ggufTensors(spec: ModelSpec, architecture: GgufArchitecture): readonly GgufTensorPlan[] {
  const byName = new Map<string, GgufPlace[]>();
  for (const place of ggufPlaces(spec, architecture)) {
    getOrMake(byName, place.tensor, () => []).push(place);
  }
  return [...byName].map(([name, parts]) => {
    const rows = parts.reduce((sum, { weight }) => sum + weight.shape[0]!, 0);
    const { stack, weight } = parts[0]!;
    const shape = stack === null ? [rows, ...rowShape(weight)] : [stack, ...weight.shape];
    return { name, shape: shapeInFile(parts[0]!, shape), parts };
  });
}

/** The shape in the file of a weight, or of whole experts of it. @param shape - its shape, as a matrix if it is one */
export function shapeInFile(
  { weight, reshaped, experts, turned }: GgufPlace,
  shape: readonly number[],
): readonly number[] {
  if (experts === null) return reshaped ?? shape;
  const [rows, columns] = (turned ? shape.toReversed() : shape) as [number, number];
  const count = experts.inRow ? experts.count : (rows * experts.count) / weight.shape[0]!;
  return stackedShape([rows, columns], experts, count);
}

/** The shape of a row in a file, without the axis of size 1 that filters have. */
export function rowShape({ shape }: Pick<WeightSpec, "shape">): readonly number[] {
  return shape.length === 3 && shape[1] === 1 ? shape.slice(2) : shape.slice(1);
}
