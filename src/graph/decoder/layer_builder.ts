/** The operators of a decoder layer. */
import { getOrMake } from "../../base/map_values.ts";
import { internalError } from "../../errors.ts";
import { type LayerMatrix, PROJECTIONS, type Projection, type QkNorm } from "../../model/spec.ts";
import {
  ACTIVATION_MODULE,
  activationParameters,
  BLOCK_NORMS,
  EXPERT_NORMS,
  LAYER_SCALAR,
  moduleOf,
  NORM_PARTS,
  type NormPart,
  PER_LAYER_NORM,
  SHARED_GATE,
  SINKS,
} from "../../model/weights.ts";
import type { Value } from "../ir/graph.ts";
import type { GraphBuilder } from "../ir/graph_builder.ts";
import { clip } from "../ir/operators.ts";
import type { Dim } from "../ir/shapes.ts";
import { addAttention } from "./attention.ts";
import { type Routing, routedFfn, routing, sizeOfPart, weightedNeurons } from "./experts.ts";
import { ACTIVATIONS, gatedFactor, norm, rotate, rotateQueries } from "./formulas.ts";
import { latentHeads } from "./latent_heads.ts";
import {
  type AttentionInputs,
  type HalfValues,
  type LayerParts,
  type LayerSizes,
  type LayerStructure,
  type LayerValues,
  type MixerInputs,
  multiple,
} from "./layer_structure.ts";
import { gatedDeltaNet, type Mixed, mamba2, shortConvolution } from "./mixers.ts";
import type { WeightSupply } from "./weight_supply.ts";

/** Values of an FFN. */
interface FfnValues extends Pick<HalfValues, "channels" | "toTap"> {
  /** [B, T, C] */
  readonly output: Value;
}

type KeysAndValues = Readonly<Record<"keys" | "values", Value>>;
interface Heads extends KeysAndValues {
  readonly queries: Value;
  readonly gates: Value | null;
}

/** The half of a layer that mixes tokens. */
export interface FirstHalf
  extends Pick<HalfValues, "stream" | "beforeOutputGate">,
    Pick<LayerValues, "carried"> {
  /** Null without attention of the layer's own units. */
  readonly tap: Value | null;
}

/**
 * Builds the attention and FFN blocks of one layer. Element types follow from the weights: a product has the type that
 * its supply gives it, keys and values that of the past; neurons, norms, softmax and the residual stream are float32. A
 * cast to the type that a value already has adds no node.
 */
export class LayerBuilder {
  /** See `LayerValues`; complete once both blocks are built. */
  readonly projected: Map<LayerMatrix, Value> = new Map();
  readonly #blockNorms = new Map<string, Value>();
  readonly #b: GraphBuilder;
  readonly #structure: LayerStructure;
  readonly #weights: WeightSupply;
  readonly #sizes: LayerSizes;

  constructor(b: GraphBuilder, { structure, weights, sizes }: LayerParts) {
    this.#b = b;
    this.#structure = structure;
    this.#weights = weights;
    this.#sizes = sizes;
  }

  attentionBlock(input: Value, inputs: AttentionInputs): FirstHalf {
    const norms = BLOCK_NORMS[this.#structure.norms].kv;
    const { tap, beforeOutputGate, keys, values } = this.#attention(
      this.#blockNorm(input, norms.input),
      inputs,
    );
    const projected = this.#linear(tap, "o_proj", this.#structure.hiddenSize);
    const stream = this.#residual(input, this.#blockNorm(projected, norms.output));
    const { read, added } = this.#structure.sharing ?? {};
    const hasUnits = read === undefined && added === undefined;
    return { tap: hasUnits ? tap : null, beforeOutputGate, stream, carried: () => ({ keys, values }) };
  }

  /** What the layer has in place of attention; its norms are where those of attention would be. */
  mixerBlock(input: Value, inputs: MixerInputs): FirstHalf {
    const { norms, hiddenSize } = this.#structure;
    const { input: before, output: after } = BLOCK_NORMS[norms].kv;
    const { output, projection, carried } = this.#mix(this.#blockNorm(input, before), inputs);
    const projected = this.#linear(output, projection, hiddenSize);
    return { tap: null, stream: this.#residual(input, this.#blockNorm(projected, after)), carried };
  }

  #mix(x: Value, inputs: MixerInputs): Mixed {
    const parts = {
      structure: this.#structure,
      weights: this.#weights,
      project: (matrix: LayerMatrix, outputs: number) =>
        this.#b.cast(this.#linear(x, matrix, outputs), "float32"),
    };
    if ("convolution" in inputs)
      return shortConvolution(this.#b, { ...parts, mixer: inputs.mixer }, inputs.convolution);
    const { mixer, recurrent } = inputs;
    return mixer.type === "delta"
      ? gatedDeltaNet(this.#b, { ...parts, mixer }, recurrent)
      : mamba2(this.#b, { ...parts, mixer }, recurrent);
  }

  /** @param stream - what the output is added to; the input, unless the blocks are parallel */
  ffnBlock({ input, stream }: { readonly input: Value; readonly stream: Value }): HalfValues {
    const norms = BLOCK_NORMS[this.#structure.norms].ffn;
    const { channels, toTap, output } = this.#ffn(input);
    const { experts } = this.#structure;
    const joined = this.#residual(stream, this.#blockNorm(output, norms.output));
    const values = { channels, ...(experts && { experts: experts.count }), stream: joined };
    if (toTap === undefined) return { ...values, tap: channels };
    let tap: Value | undefined;
    return {
      ...values,
      toTap,
      /** Added to the graph where it is used. */
      get tap(): Value {
        tap ??= toTap(channels);
        return tap;
      },
    };
  }

  /** Adds the output of a block, times the family's `residualScale`, to the residual stream. */
  #residual(stream: Value, output: Value): Value {
    const b = this.#b;
    const { residualScale } = this.#structure;
    const update = b.cast(output, stream.type);
    return b.add(stream, residualScale === 1 ? update : b.mul(update, b.scalar(residualScale, stream.type)));
  }

  /** x with a block's norm, once for blocks that share it; x itself where there is none. */
  #blockNorm(x: Value, name: string | null): Value {
    if (name === null) return x;
    return getOrMake(this.#blockNorms, `${name} of ${x.name}`, () =>
      this.#norm(x, name, { parts: NORM_PARTS[this.#structure.normParameters] }),
    );
  }

  /** @param axes - the number of the last axes of x along which weights differ */
  #norm(x: Value, name: string, { parts, axes = 1 }: { parts: readonly NormPart[]; axes?: number }): Value {
    const tensor = (part: NormPart): Value | null =>
      parts.includes(part) ? this.#weights.tensor(`${name}.${part}`, x.shape.slice(-axes)) : null;
    return norm(this.#b, x, { ...this.#structure, weight: tensor("weight"), bias: tensor("bias") });
  }

  /** Grouped-query attention: the g query heads of a group share one [S, H] key and value matrix. */
  #attention(
    x: Value,
    inputs: AttentionInputs,
  ): Readonly<Record<"tap" | "beforeOutputGate" | "keys" | "values", Value>> {
    const b = this.#b;
    const { mask, slopes = null, cache = null } = inputs;
    const { headDim, valueDim, groupSize } = this.#structure;
    const { K, N } = this.#sizes;
    const [batch, tokens] = x.shape as readonly [Dim, Dim, Dim];
    const { queries, gates, keys, values } = this.#heads(x, inputs);
    const grouped = b.transpose(b.reshape(queries, [batch, tokens, K, groupSize, headDim]), [0, 2, 3, 1, 4]);
    const sources = {
      ...{ queries: b.cast(grouped, keys.type), keys, values, mask, slopes, cache },
      sinks: this.#sinks(),
    };
    const perHead = addAttention(b, sources, this.#structure);
    const joined = b.transpose(perHead, [0, 3, 1, 2, 4]);
    const output = b.reshape(joined, [batch, tokens, multiple(N, valueDim)]);
    const tap = gates === null ? output : b.mul(b.cast(output, "float32"), b.sigmoid(gates));
    return { tap, beforeOutputGate: output, keys, values };
  }

  /** Logits of attention sinks, [K, g]; null without. */
  #sinks(): Value | null {
    const { attentionSinks = false, groupSize } = this.#structure;
    if (!attentionSinks) return null;
    const { K, N } = this.#sizes;
    return this.#b.reshape(this.#weights.tensor(SINKS, [N]), [K, groupSize]);
  }

  /** Queries [B, T, N, H], with gates as `#queries`, and keys and values of past and present tokens, [B, K, S, ..]. */
  #heads(x: Value, inputs: AttentionInputs): Heads {
    const { angles, shared } = inputs;
    const { latent } = this.#structure;
    if (latent !== undefined) {
      const linear = this.#linear.bind(this);
      const parts = { structure: this.#structure, weights: this.#weights, sizes: this.#sizes };
      const { queries, ...present } = latentHeads(this.#b, { ...parts, latent, x, angles, linear });
      return { queries, gates: null, ...this.#withPasts(present, inputs) };
    }
    const { queries, gates } = this.#queries(x);
    const rotated = this.#rotatedNormed(rotateQueries(this.#b, queries, angles), "q_norm");
    return { queries: rotated, gates, ...(shared ?? this.#keysAndValues(x, inputs)) };
  }

  #keysAndValues(x: Value, inputs: AttentionInputs): KeysAndValues {
    const b = this.#b;
    const { valuesAreKeys = false, valueNorm = false } = this.#structure;
    const projected = this.#headsOf(x, "k_proj");
    const rotated = rotate(b, this.#normedHeads(projected, "k_norm"), inputs.angles);
    const unnormed = valuesAreKeys ? projected : this.#headsOf(x, "v_proj");
    const values = valueNorm ? this.#norm(unnormed, "v_norm", { parts: [] }) : unnormed;
    return this.#withPasts({ keys: this.#rotatedNormed(rotated, "k_norm"), values }, inputs);
  }

  /** Keys and values of past and present tokens, [B, K, S, ..], from those of the present, [B, T, K, ..]. */
  #withPasts({ keys, values }: KeysAndValues, { mask, past }: AttentionInputs): KeysAndValues {
    const total = mask.shape.at(-1)!;
    const byHead = (present: Value): Value => this.#b.transpose(present, [0, 2, 1, 3]);
    return {
      keys: this.#withPast(byHead(keys), past?.keys, total),
      values: this.#withPast(byHead(values), past?.values, total),
    };
  }

  /**
   * Queries as `#headsOf` gives them, normed if that precedes the rotation, and gates of attention's output, [B, T,
   * N*H], where the family has some.
   */
  #queries(x: Value): Readonly<{ queries: Value; gates: Value | null }> {
    if (!this.#structure.gatedAttention)
      return { queries: this.#normedHeads(this.#headsOf(x, "q_proj"), "q_norm"), gates: null };
    const b = this.#b;
    const { headDim } = this.#structure;
    const { N } = this.#sizes;
    const [batch, tokens] = x.shape as readonly [Dim, Dim, Dim];
    const projected = this.#linear(x, "q_proj", multiple(N, 2 * headDim));
    const pairs = b.reshape(projected, [batch, tokens, N, 2 * headDim]);
    const half = (start: number): Value => b.slice(pairs, 3, { start, end: start + headDim });
    return {
      queries: this.#normedIf("head", half(0), "q_norm"),
      gates: b.cast(b.reshape(half(headDim), [batch, tokens, multiple(N, headDim)]), "float32"),
    };
  }

  /** The neurons, and what down_proj makes of them, with the output of a shared expert. */
  #ffn(input: Value): FfnValues {
    const { experts, hiddenSize, norms, sparse } = this.#structure;
    const x = this.#blockNorm(input, BLOCK_NORMS[norms].ffn.input);
    if (experts === undefined) {
      const channels = this.#neurons(x);
      return { channels, output: this.#linear(channels, "down_proj", hiddenSize) };
    }
    const { shared, ownNorms } = experts;
    const normed = (value: Value, name: string): Value => (ownNorms ? this.#blockNorm(value, name) : value);
    const parts = { experts, rule: this.#structure, weights: this.#weights };
    const router = routing(this.#b, ownNorms ? input : x, parts);
    const read = ownNorms ? this.#blockNorm(input, EXPERT_NORMS.input) : x;
    const ffn = sparse === undefined ? this.#weighted(read, router) : this.#routed(read, router);
    const hasBiases = this.#structure.biases.includes("down_proj");
    const written = hasBiases ? this.#b.add(ffn.output, this.#sharesOfBiases(router)) : ffn.output;
    const output = normed(written, EXPERT_NORMS.output);
    if (shared === undefined) return { ...ffn, output };
    const beside = normed(this.#sharedExpert(x, shared), EXPERT_NORMS.beside);
    return { ...ffn, output: this.#b.add(output, beside) };
  }

  /** The biases of what a token's experts write, times their weights, [B, T, C]. */
  #sharesOfBiases({ experts, weights }: Routing): Value {
    const { hiddenSize } = this.#structure;
    const biases = this.#weights.tensor(`${moduleOf("down_proj")}.bias`, [experts.count, hiddenSize]);
    return this.#b.matmul(weights, biases);
  }

  #weighted(x: Value, router: Routing): FfnValues {
    const channels = weightedNeurons(this.#b, this.#neurons(x), router);
    return { channels, output: this.#linear(channels, "down_proj", this.#structure.hiddenSize) };
  }

  /** The output of the shared expert, [B, T, C]. */
  #sharedExpert(x: Value, neurons: number): Value {
    const b = this.#b;
    const { hiddenSize, experts } = this.#structure;
    const linear = (matrix: "gate_proj" | "up_proj"): Value =>
      b.cast(this.#linear(x, `mlp.shared_expert.${matrix}`, neurons), "float32");
    const active = this.#gated(linear, noParameter);
    const output = b.cast(this.#linear(active, "mlp.shared_expert.down_proj", hiddenSize), "float32");
    if (experts?.sharedUngated) return output;
    const gate = this.#weights.tensor(`${SHARED_GATE}.weight`, [1, hiddenSize]);
    return b.mul(output, b.sigmoid(b.matmul(x, gate, { transB: true })));
  }

  /** Of experts apart, the output alone is a value of the whole graph. */
  #routed(x: Value, router: Routing): FfnValues {
    if (this.#structure.sparse !== "apart") return this.#ofOwnTokens(x, router);
    let ffn: FfnValues | undefined;
    const output = this.#b.inBody(x, (state) => {
      ffn = this.#ofOwnTokens(state, router);
      return ffn.output;
    });
    return { ...ffn!, output };
  }

  #ofOwnTokens(x: Value, router: Routing): FfnValues {
    const { F } = this.#sizes;
    const neurons = sizeOfPart(F, router.experts.count);
    const ffn = routedFfn(this.#b, x, {
      ...router,
      neurons: F,
      slices: this.#structure.sparse === "apart",
      product: (rows, matrix, groups) => {
        const outputs = matrix === "down_proj" ? this.#structure.hiddenSize : neurons;
        const product = this.#b.cast(
          this.#weights.expertProduct(rows, { matrix, groups, outputs }),
          "float32",
        );
        if (matrix === "down_proj" || !this.#hasBias(matrix)) return product;
        const biases = this.#weights.tensor(`${moduleOf(matrix)}.bias`, [F]);
        return this.#b.add(product, groups.rowsOf(this.#b.reshape(biases, [router.experts.count, neurons])));
      },
      compute: (product) => this.#gated(product, noParameter),
    });
    this.projected.set("down_proj", ffn.output);
    return ffn;
  }

  /** act(gate(x)) * up(x), or act(up(x)), [B, T, F], in float32, since Gemma 3's exceed the range of float16. */
  #neurons(x: Value): Value {
    const b = this.#b;
    const parameters = new Map(
      activationParameters(this.#structure).map(([name, shape]) => {
        return [name, this.#weights.tensor(`${ACTIVATION_MODULE}.${name}`, shape)];
      }),
    );
    const linear = (projection: Projection): Value =>
      b.cast(this.#linear(x, projection, this.#sizes.F), "float32");
    return this.#gated(linear, (name) => parameters.get(name)!);
  }

  /** Neurons from what the input projections give. */
  #gated(
    linear: (projection: "gate_proj" | "up_proj") => Value,
    parameterOf: (name: string) => Value,
  ): Value {
    const b = this.#b;
    const { activation, gated } = this.#structure;
    const active = ACTIVATIONS[activation](b, linear(gated ? "gate_proj" : "up_proj"), parameterOf);
    return gated ? b.mul(active, gatedFactor(b, linear("up_proj"), activation)) : active;
  }

  /** What follows the FFN: the layer's own input [B, T, size], gated by the stream, and the layer's number. */
  outputBlock(stream: Value, ownInput: Value | null): Value {
    const b = this.#b;
    const { activation, hiddenSize, scalar = false } = this.#structure;
    const withOwn = (own: Value): Value => {
      const gates = b.cast(this.#linear(stream, "per_layer_input_gate", own.shape.at(-1)!), "float32");
      const active = ACTIVATIONS[activation](b, gates, noParameter);
      const projected = this.#linear(b.mul(active, own), "per_layer_projection", hiddenSize);
      return this.#residual(stream, this.#blockNorm(projected, PER_LAYER_NORM));
    };
    const output = ownInput === null ? stream : withOwn(ownInput);
    return scalar ? b.mul(output, this.#weights.tensor(LAYER_SCALAR, [1])) : output;
  }

  #linear(x: Value, matrix: LayerMatrix, outputs: Dim): Value {
    const product = this.#weights.product(x, matrix, outputs);
    const projected = this.#hasBias(matrix) ? this.#withBias(product, matrix) : product;
    this.projected.set(matrix, projected);
    return projected;
  }

  #hasBias(matrix: LayerMatrix): boolean {
    const { biases, mixer } = this.#structure;
    const isProjection = PROJECTIONS.some((projection) => projection === matrix);
    // Experts have theirs each (`#sharesOfBiases`).
    if (this.#structure.experts !== undefined && matrix === "down_proj") return false;
    if (isProjection) return biases.some((projection) => projection === matrix);
    if (/^per_layer|^mlp[.]/.test(matrix)) return false;
    if (matrix.startsWith("self_attn.")) return this.#structure.latent!.biases;
    return mixer!.type !== "delta" && mixer!.biases;
  }

  #withBias(product: Value, matrix: LayerMatrix): Value {
    const bias = this.#weights.tensor(`${moduleOf(matrix)}.bias`, [product.shape.at(-1)!]);
    return this.#b.add(product, this.#b.cast(bias, product.type));
  }

  /** Output of a projection, normed as a whole if that is so, clipped if all are, as heads: [B, T, heads, H]. */
  #headsOf(x: Value, projection: "q_proj" | "k_proj" | "v_proj"): Value {
    const normName = ({ q_proj: "q_norm", k_proj: "k_norm", v_proj: null } as const)[projection];
    const count = projection === "q_proj" ? this.#sizes.N : this.#sizes.K;
    const { projectionClip } = this.#structure;
    const projected = this.#linear(x, projection, multiple(count, this.#structure.headDim));
    const normed = this.#normedIf("projection", projected, normName);
    const channels = projectionClip === null ? normed : clip(this.#b, normed, projectionClip);
    return this.#b.reshape(channels, [...x.shape.slice(0, 2), count, this.#structure.headDim]);
  }

  /** Heads, each normed if that precedes the rotation. */
  #normedHeads(heads: Value, normName: "q_norm" | "k_norm"): Value {
    return this.#normedIf("each_head", this.#normedIf("head", heads, normName), normName);
  }

  /** Rotated heads, normed if that follows the rotation. */
  #rotatedNormed(heads: Value, normName: "q_norm" | "k_norm"): Value {
    return this.#normedIf("unweighted", this.#normedIf("rotated_head", heads, normName), normName);
  }

  /** x with a norm of queries or keys, if theirs is of this kind. */
  #normedIf(kind: QkNorm, x: Value, normName: "q_norm" | "k_norm" | null): Value {
    if (normName === null || this.#structure.qkNorm !== kind) return x;
    const parts: readonly NormPart[] = kind === "unweighted" ? [] : ["weight"];
    return this.#norm(x, `self_attn.${normName}`, { parts, axes: kind === "each_head" ? 2 : 1 });
  }

  /** Keys or values [B, K, T, H] after those of the past, [B, K, total, H]. */
  #withPast(present: Value, past: Value | undefined, total: Dim): Value {
    if (past === undefined) return present;
    return this.#b.concat([past, this.#b.cast(present, past.type)], 2, total);
  }
}

/** Activations of gates of own inputs have no parameters in any family. */
function noParameter(name: string): never {
  throw internalError(`no parameter ${name} of an activation`);
}
