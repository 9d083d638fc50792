/** Where the weights of a model are stored in a GGUF file, for reading and for writing. */

import { getOrMake } from "../../base/map_values.ts";
import { type ReorderedHeads, reorderedWeights } from "../rotary_rows.ts";
import type { ModelSpec } from "../spec.ts";
import { type WeightSpec, weightsOf } from "../weights.ts";
import type { GgufArchitecture } from "./architecture.ts";
import { ggufName, isFused } from "./names.ts";

/** Where and how one weight is stored. */
export interface GgufPlace {
  readonly weight: WeightSpec;
  /** Name in the file. */
  readonly tensor: string;
  /** The tensor holds several weights; the rows of this one follow those of the weights before it. */
  readonly fused: boolean;
  /** The heads whose rows are stored in pairs; null where they are in place. */
  readonly paired: ReorderedHeads | null;
  /** Added to every element in the file. */
  readonly normOffset: number;
}

/** A tensor of a file and the weights whose rows it holds. */
export interface GgufTensorPlan {
  readonly name: string;
  readonly shape: readonly number[];
  readonly parts: readonly GgufPlace[];
}

/** The places of a model's weights, in the order of `weightsOf`. */
export function ggufPlaces(spec: ModelSpec, architecture: GgufArchitecture): readonly GgufPlace[] {
  const paired = reorderedWeights(spec, architecture.permuted ? "pairs" : "halves");
  return weightsOf(spec).flatMap((weight) => {
    const { name } = weight;
    const tensor = ggufName(name, architecture);
    if (tensor === undefined) return [];
    const isNorm = name.endsWith("norm.weight");
    return [
      {
        weight,
        tensor,
        fused: isFused(name, architecture),
        paired: paired.get(name) ?? null,
        normOffset: architecture.offsetNorms && isNorm ? spec.normOffset : 0,
      },
    ];
  });
}

/** The tensors of a file that holds the model. */
export function ggufTensors(spec: ModelSpec, architecture: GgufArchitecture): readonly GgufTensorPlan[] {
  const byName = new Map<string, GgufPlace[]>();
  for (const place of ggufPlaces(spec, architecture)) {
    getOrMake(byName, place.tensor, () => []).push(place);
  }
  return [...byName].map(([name, parts]) => {
    const rows = parts.reduce((sum, { weight }) => sum + weight.shape[0]!, 0);
    return { name, shape: [rows, ...rowShape(parts[0]!.weight)], parts };
  });
}

/** The shape of a row in a file, without the axis of size 1 that filters have. */
export function rowShape({ shape }: Pick<WeightSpec, "shape">): readonly number[] {
  return shape.length === 3 && shape[1] === 1 ? shape.slice(2) : shape.slice(1);
}
