/** Where the graph of a layer has its weights from. */
import type { LayerMatrix } from "../../model/projections.ts";
import { moduleOf } from "../../model/weight_names.ts";
import type { Value } from "../ir/graph.ts";
import type { GraphBuilder } from "../ir/graph_builder.ts";
import type { RowGroups } from "../ir/row_groups.ts";
import type { Dim } from "../ir/shapes.ts";

/** Projections that write neurons. */
export type InputProjection = "gate_proj" | "up_proj";
/** Matrices that every expert has one of. */
export type ExpertMatrix = InputProjection | "down_proj";

/** Product of rows [M, I], in groups for one expert after another, with the transposed matrix of each: [M, outputs]. */
export interface ExpertProduct {
  readonly matrix: ExpertMatrix;
  readonly groups: RowGroups;
  /** Rows of an expert's matrix. */
  readonly outputs: Dim;
}

/** Source of a layer's weights and of the products with them. */
export interface WeightSupply {
  /** A norm's weight, a bias, filters or a number of an activation, float32, by its name without the layer's prefix. */
  tensor(name: string, shape: readonly Dim[]): Value;
  /** x [.., inputs] times the transpose of a matrix [outputs, inputs]. */
  product(x: Value, matrix: LayerMatrix, outputs: Dim): Value;
  /** The same of experts; see `ExpertProduct`. */
  expertProduct(rows: Value, product: ExpertProduct): Value;
}

/** What the graph calls a matrix of one expert. @param name - of that of all of them */
export function expertFeed(name: string, expert: number): string {
  return name.replace(/[.]weight$/, `.${expert}.weight`);
}

/** The name of the matrix of all experts, and the expert, by the name of a matrix of one; null for other weights. */
export function expertOfFeed(feed: string): { readonly name: string; readonly expert: number } | null {
  const found = /^(.+)[.](\d+)[.]weight$/.exec(feed);
  return found && { name: `${found[1]}.weight`, expert: Number(found[2]) };
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

  expertProduct(rows: Value, { matrix, groups, outputs }: ExpertProduct): Value {
    const name = `${moduleOf(matrix)}.weight`;
    return groups.each(rows, 0, (own, expert) => {
      const weight = this.tensor(expertFeed(name, expert), [outputs, own.shape[1]!]);
      return this.#b.matmul(own, weight, { transB: true });
    });
  }
}
