/** Where the graph of a layer has its weights from. */
import { PROJECTION_MODULE, type Projection } from "../../model/spec.ts";
import type { GraphBuilder, Value } from "../ir/graph.ts";
import type { Dim } from "../ir/shapes.ts";

/** Source of a layer's weights and of the products with them. */
export interface WeightSupply {
  /** A norm's weight, a bias or a number of an activation, float32, by its name without the layer's prefix. */
  tensor(name: string, shape: readonly Dim[]): Value;
  /** x [.., inputs] times the transpose of a projection's weight [outputs, inputs]. */
  product(x: Value, projection: Projection, outputs: Dim): Value;
}

/** `self_attn.q_proj`. */
export function moduleOf(projection: Projection): string {
  return `${PROJECTION_MODULE[projection]}.${projection}`;
}

/** Weights as inputs of the graph, in their stored layout. */
export class WeightInputs implements WeightSupply {
  /** By name. */
  readonly inputs: Map<string, Value> = new Map();
  readonly #b: GraphBuilder;

  constructor(b: GraphBuilder) {
    this.#b = b;
  }

  tensor(name: string, shape: readonly Dim[]): Value {
    const value = this.inputs.get(name) ?? this.#b.input(name, shape);
    this.inputs.set(name, value);
    return value;
  }

  product(x: Value, projection: Projection, outputs: Dim): Value {
    const weight = this.tensor(`${moduleOf(projection)}.weight`, [outputs, x.shape.at(-1)!]);
    return this.#b.matmul(x, weight, { transB: true });
  }
}
