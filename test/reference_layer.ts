/** One layer of the reference decoder: its weights by name, and the products, norms and sums of its blocks. */

import { mixerOf } from "../src/model/mixer_layers.ts";
import { hasProjectionBias, isActive } from "../src/model/mixer_spec.ts";
import { type LayerSpec, type ModelSpec, type NormPlacement, normsOf } from "../src/model/spec.ts";
import {
  add,
  linear,
  matrix,
  norm,
  type Row,
  type Rows,
  vector,
  type Weights,
} from "./reference_functions.ts";

/** Keys and values of a layer by token and head. */
export type Attended = Readonly<Record<"keys" | "values", readonly Rows[]>>;

export interface ReferenceParts {
  readonly spec: ModelSpec;
  readonly layerSpec: LayerSpec;
  readonly weights: Weights;
  /** Of the names of its weights. */
  readonly prefix: string;
  /** Of the layers before, to which this one adds its own. */
  readonly attended: Attended[];
}

export class ReferenceLayer implements ReferenceParts {
  readonly spec: ModelSpec;
  readonly layerSpec: LayerSpec;
  readonly weights: Weights;
  readonly prefix: string;
  readonly attended: Attended[];

  constructor({ spec, layerSpec, weights, prefix, attended }: ReferenceParts) {
    this.spec = spec;
    this.layerSpec = layerSpec;
    this.weights = weights;
    this.prefix = prefix;
    this.attended = attended;
  }

  norm(rows: Rows, name: string): Rows {
    return rows.map((row) => this.normRow(row, name, this.spec.normParameters));
  }

  normRow(row: Row, name: string, parameters: ModelSpec["normParameters"]): Row {
    const weight = parameters === "none" ? null : this.vector(`${name}.weight`);
    const bias = parameters === "weight_and_bias" ? this.vector(`${name}.bias`) : null;
    return norm(row, { weight, bias }, this.spec);
  }

  project(module: string, projection: string, row: Row): Row {
    const name = `${this.prefix}${module}.${projection}`;
    const product = linear(row, matrix(this.weights, `${name}.weight`));
    const { biases } = this.layerSpec;
    const mixer = mixerOf(this.layerSpec);
    const isBiased =
      isActive(mixer) && ["conv", "mamba"].includes(module)
        ? hasProjectionBias(mixer, projection as "in_proj" | "out_proj")
        : biases.some((biased) => biased === projection);
    if (!isBiased) return product;
    const bias = vector(this.weights, `${name}.bias`);
    return product.map((x, i) => x + bias[i]!);
  }

  get norms(): NormPlacement {
    return normsOf(this.spec, this.layerSpec);
  }

  vector(name: string): Row {
    return vector(this.weights, this.prefix + name);
  }

  /** What a block gives, with the norm that is on it if there is one. */
  given(rows: Rows, norm: "post_attention_layernorm" | "post_feedforward_layernorm"): Rows {
    return ["before", "shared"].includes(this.norms) ? rows : this.norm(rows, norm);
  }

  /** @param factor - on the output, besides `residualScale` */
  join(stream: Rows, output: Rows, factor = 1): Rows {
    return add(stream, scaled(output, this.spec.residualScale * factor));
  }
}

export function scaled(rows: Rows, factor = 1): Rows {
  return rows.map((row) => row.map((x) => x * factor));
}
