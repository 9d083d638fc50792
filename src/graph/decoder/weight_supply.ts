/** Where the graph of a layer has its weights from. */
import type { LayerMatrix } from "../../model/spec.ts";
import { moduleOf } from "../../model/weights.ts";
import type { GraphBuilder, Value } from "../ir/graph.ts";
import type { Dim } from "../ir/shapes.ts";

/** Source of a layer's weights and of the products with them. */
export interface WeightSupply {
  /** A norm's weight, a bias, filters or a number of an activation, float32, by its name without the layer's prefix. */
  tensor(name: string, shape: readonly Dim[]): Value;
  /** x [.., inputs] times the transpose of a matrix [outputs, inputs]. */
  product(x: Value, matrix: LayerMatrix, outputs: Dim): Value;
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

  product(x: Value, matrix: LayerMatrix, outputs: Dim): Value {
    const weight = this.tensor(`${moduleOf(matrix)}.weight`, [outputs, x.shape.at(-1)!]);
    return this.#b.matmul(x, weight, { transB: true });
  }
}
