/** The products, norms and sums that the blocks of a layer are made of. */
import { getOrMake } from "../../base/map_values.ts";
import { mixerOf } from "../../model/mixer_layers.ts";
import { hasProjectionBias, isActive } from "../../model/mixer_spec.ts";
import { type LayerMatrix, PROJECTIONS } from "../../model/projections.ts";
import { moduleOf } from "../../model/weight_names.ts";
import { NORM_PARTS, type NormPart } from "../../model/weights.ts";
import type { Value } from "../ir/graph.ts";
import type { GraphBuilder } from "../ir/graph_builder.ts";
import type { Dim } from "../ir/shapes.ts";
import { norm } from "./formulas.ts";
import type { LayerParts, LayerSizes, LayerStructure } from "./layer_structure.ts";
import type { WeightSupply } from "./weight_supply.ts";

/** Adds operators with the weights of one layer to a graph. */
export class LayerOperators implements LayerParts {
  readonly b: GraphBuilder;
  readonly structure: LayerStructure;
  readonly weights: WeightSupply;
  readonly sizes: LayerSizes;
  /** See `LayerValues`; complete once all blocks are built. */
  readonly projected: Map<LayerMatrix, Value> = new Map();
  readonly #blockNorms = new Map<string, Value>();

  constructor(b: GraphBuilder, { structure, weights, sizes }: LayerParts) {
    this.b = b;
    this.structure = structure;
    this.weights = weights;
    this.sizes = sizes;
  }

  /** The product with a matrix, and its bias if it has one. */
  linear(x: Value, matrix: LayerMatrix, outputs: Dim): Value {
    const product = this.weights.product(x, matrix, outputs);
    const projected = this.hasBias(matrix) ? this.#withBias(product, matrix) : product;
    this.projected.set(matrix, projected);
    return projected;
  }

  /** Whether a bias is added to every token's product with a matrix; experts have theirs each (ffn.ts). */
  hasBias(matrix: LayerMatrix): boolean {
    const { biases, experts, latent } = this.structure;
    if (experts !== undefined && matrix === "down_proj") return false;
    const projection = PROJECTIONS.find((candidate) => candidate === matrix);
    if (projection !== undefined) return biases.includes(projection);
    if (/^per_layer|^mlp[.]|^altup|^laurel/.test(matrix)) return false;
    if (matrix.startsWith("self_attn.")) return latent?.biases ?? false;
    const active = mixerOf(this.structure);
    return (
      isActive(active) && hasProjectionBias(active, matrix.endsWith("out_proj") ? "out_proj" : "in_proj")
    );
  }

  #withBias(product: Value, matrix: LayerMatrix): Value {
    const bias = this.weights.tensor(`${moduleOf(matrix)}.bias`, [product.shape.at(-1)!]);
    return this.b.add(product, this.b.cast(bias, product.type));
  }

  /** @param axes - the number of the last axes of x along which weights differ */
  norm(x: Value, name: string, { parts, axes = 1 }: { parts: readonly NormPart[]; axes?: number }): Value {
    const tensor = (part: NormPart): Value | null =>
      parts.includes(part) ? this.weights.tensor(`${name}.${part}`, x.shape.slice(-axes)) : null;
    return norm(this.b, x, { ...this.structure, weight: tensor("weight"), bias: tensor("bias") });
  }

  /** x with a block's norm, once for blocks that share it; x itself where there is none. */
  blockNorm(x: Value, name: string | null): Value {
    if (name === null) return x;
    return getOrMake(this.#blockNorms, `${name} of ${x.name}`, () =>
      this.norm(x, name, { parts: NORM_PARTS[this.structure.normParameters] }),
    );
  }

  /** Adds the output of a block, times the family's `residualScale` and a factor, to the residual stream. */
  residual(stream: Value, output: Value, factor = 1): Value {
    const { b } = this;
    return b.add(stream, this.scaled(b.cast(output, stream.type), this.structure.residualScale * factor));
  }

  /** x times a factor; x itself for 1. */
  scaled(x: Value, factor = 1): Value {
    return factor === 1 ? x : this.b.mul(x, this.b.scalar(factor, x.type));
  }
}
