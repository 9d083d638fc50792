/**
 * A decoder layer as a graph; the head is in head.ts. Families differ by the properties of `LayerStructure` only;
 * widths (F neurons, K KV groups) are symbolic, so one compiled graph serves layers pruned to any width.
 *
 * Weights enter under their checkpoint names without the `model.layers.i.` prefix, in their stored [out, in] layout.
 * Based on transformers' modeling_llama.py, modeling_qwen3.py and modeling_gemma2.py (eager attention).
 */
import { getOrMake } from "../../base/map_values.ts";
import {
  type LayerSpec,
  type ModelSpec,
  type Projection,
  type QkNorm,
  queryHeads,
} from "../../model/spec.ts";
import {
  ACTIVATION_MODULE,
  activationParameters,
  BLOCK_NORMS,
  NORM_PARTS,
  type NormPart,
  type SpaceKind,
} from "../../model/weights.ts";
import type { GraphBuilder, Value } from "../ir/graph.ts";
import { clip } from "../ir/operators.ts";
import type { Dim } from "../ir/shapes.ts";
import {
  type AttentionCache,
  type AttentionRule,
  type AttentionSpan,
  addAttention,
  blockSizes,
} from "./attention.ts";
import { ACTIVATIONS, type NormRule, norm, type RotaryAngles, rotate, rotateQueries } from "./formulas.ts";
import { queryGrowth } from "./frequencies.ts";
import { moduleOf, WeightInputs, type WeightSupply } from "./weight_supply.ts";

/** Properties that a layer's graph depends on, apart from its widths. */
export interface LayerStructure extends AttentionRule, NormRule {
  readonly hiddenSize: number;
  readonly headDim: number;
  /** Channels of a head that are rotated; 0 for none. */
  readonly rotaryDim: number;
  /** Rotated queries are multiplied by a factor of their position. */
  readonly scalesQueries: boolean;
  readonly biases: readonly Projection[];
  readonly activation: ModelSpec["activation"];
  readonly gated: boolean;
  readonly qkNorm: ModelSpec["qkNorm"];
  readonly norms: ModelSpec["norms"];
  readonly parallel: boolean;
  readonly residualScale: number;
  readonly projectionClip: number | null;
}

/** Values of a layer's graph that programs use. */
export interface LayerValues {
  /** Layer input, [B, T, C]. */
  readonly input: Value;
  /** Layer output, [B, T, C]. */
  readonly output: Value;
  /** Inputs of the output projections, where units are gated: kv [B, T, K*g*H], ffn [B, T, F]. */
  readonly taps: Readonly<Record<SpaceKind, Value>>;
  /** Output of every projection with its bias, before norms and rotation, [B, T, outputs]. */
  readonly projected: ReadonlyMap<Projection, Value>;
  /** The residual stream after each half of the layer, [B, T, C]. */
  readonly streams: Readonly<Record<SpaceKind, Value>>;
  /** Rotated keys and values of past and present tokens, [B, K, S, H]; S = T without a past, and with a cache. */
  readonly keys: Value;
  readonly values: Value;
  /** The weights and biases that the layer reads, by their names in the graph. */
  readonly weights: ReadonlyMap<string, Value>;
}

/** The structure of one layer of a model. */
export function layerStructure(spec: ModelSpec, layer: LayerSpec): LayerStructure {
  return {
    hiddenSize: spec.hiddenSize,
    headDim: spec.headDim,
    groupSize: layer.groupSize,
    rotaryDim: layer.rope?.rotaryDim ?? 0,
    scalesQueries: layer.rope !== null && queryGrowth(layer.rope) !== null,
    biases: layer.biases,
    activation: spec.activation,
    gated: spec.gated,
    normType: spec.normType,
    normEps: spec.normEps,
    normOffset: spec.normOffset,
    normParameters: spec.normParameters,
    qkNorm: layer.rope === null && spec.qkNorm === "unweighted" ? null : spec.qkNorm,
    norms: spec.norms,
    parallel: spec.parallel,
    attentionScale: spec.attentionScale,
    scoreSoftcap: spec.scoreSoftcap,
    residualScale: spec.residualScale,
    projectionClip: spec.projectionClip,
  };
}

/** Inputs of attention besides hidden states and weights. */
export interface AttentionInputs {
  /** Null where nothing is rotated. */
  readonly angles: RotaryAngles | null;
  /**
   * Added to the scores, float32, broadcasting to [B, K, g*T, S]; queries are ordered by head, then token. With a span,
   * the mask of one block, which all heads and blocks share (`blockSizes`).
   */
  readonly mask: Value;
  /** Rotated keys and values of the past, [B, K, P, H], to which the present ones are joined; null without a past. */
  readonly past: { readonly keys: Value; readonly values: Value } | null;
  /** Keys and values of the past in a preallocated cache, read in place; none when absent. */
  readonly cache?: AttentionCache | null;
}

/** Sizes that pruning changes, by their names in shapes: KV groups, query heads and neurons. */
export interface LayerSizes<Size extends Dim = Dim> {
  readonly K: Size;
  readonly N: Size;
  readonly F: Size;
}

/** Sizes of one layer. */
export function layerSizes(layer: LayerSpec): LayerSizes<number> {
  return { K: layer.kvGroups, N: queryHeads(layer), F: layer.neurons };
}

/** Structure, weights and sizes of one layer. */
export interface LayerParts {
  readonly structure: LayerStructure;
  readonly weights: WeightSupply;
  readonly sizes: LayerSizes;
}

const ANY_SIZES: LayerSizes = { K: "K", N: "N", F: "F" };

/** Options of {@link buildLayer}. */
export interface LayerGraphOptions {
  /** Whether keys and values of the past are inputs. */
  readonly cached?: boolean;
  /** Whether every sequence has angles and a mask of its own. */
  readonly forest?: boolean;
  /** Sizes of one layer, for one sequence; symbolic, for any batch, when absent. */
  readonly sizes?: LayerSizes;
  /** The layer's weights, of which some may not be inputs; all are inputs when absent. */
  readonly weights?: WeightInputs;
}

/**
 * Adds a decoder layer to a graph. Inputs besides weights: `hidden` [B, T, C], `cos` and `sin` [T, rotaryDim / 2] if
 * that is not 0, `query_scale` [T] if queries are scaled, `mask` [g*T, T] (0 where a query sees a key, very negative
 * elsewhere; queries ordered by head, then token; with a span the mask of one block, `blockSizes`), and with `cached`
 * the keys and values of the past, `past_keys` and `past_values` [B, K, P, H], where P may exceed their number, and
 * `past_mask` [g*T, P], which hides the unused places. With `forest` every sequence has angles, scales and a mask of
 * its own: [B, T, rotaryDim / 2], [B, T] and [B, 1, g*T, T].
 */
export function buildLayer(
  b: GraphBuilder,
  structure: LayerStructure,
  options: LayerGraphOptions = {},
): LayerValues {
  const { weights = new WeightInputs(b), sizes = ANY_SIZES } = options;
  const { span, hiddenSize } = structure;
  const input = b.input("hidden", [batchSize(options), span?.tokens ?? "T", hiddenSize]);
  const layer = addLayer(
    b,
    { structure, weights, sizes },
    { input, ...attentionInputs(b, structure, options) },
  );
  return { ...layer, weights: weights.inputs };
}

/** Adds a decoder layer whose inputs are values of a larger graph. */
export function addLayer(
  b: GraphBuilder,
  parts: LayerParts,
  { input, ...attentionInputs }: AttentionInputs & { readonly input: Value },
): Omit<LayerValues, "weights"> {
  const layer = new LayerBuilder(b, parts);
  const attention = layer.attentionBlock(input, attentionInputs);
  const ffn = layer.ffnBlock({
    input: parts.structure.parallel ? input : attention.output,
    stream: attention.output,
  });
  return {
    input,
    output: ffn.output,
    taps: { kv: attention.tap, ffn: ffn.tap },
    projected: layer.projected,
    streams: { kv: attention.output, ffn: ffn.output },
    keys: attention.keys,
    values: attention.values,
  };
}

/** One half of a layer: attention (kv) or FFN with its norms and its residual connection. */
interface BlockValues {
  /** The residual stream after the block, [B, T, C]. */
  readonly output: Value;
  /** Input of the output projection, [B, T, channels]. */
  readonly tap: Value;
}

/** Number of sequences: one in a graph of fixed sizes. */
function batchSize({ sizes }: LayerGraphOptions): Dim {
  return sizes === undefined ? "B" : 1;
}

/** Attention's inputs as inputs of the graph, see `buildLayer`. */
function attentionInputs(
  b: GraphBuilder,
  { headDim, rotaryDim, scalesQueries, span }: LayerStructure,
  options: LayerGraphOptions,
): AttentionInputs {
  const { cached = false, forest = false, sizes = ANY_SIZES } = options;
  const half = rotaryDim / 2;
  const batch: readonly Dim[] = forest ? ["B"] : [];
  const tokens = span?.tokens ?? "T";
  const angles = (name: string): Value =>
    b.reshape(b.input(name, [...batch, tokens, half]), [...batch, tokens, 1, half]);
  const queryScale = (): Value =>
    b.reshape(b.input("query_scale", [...batch, tokens]), [...batch, tokens, 1, 1]);
  const past = (name: string): Value => b.input(name, [batchSize(options), sizes.K, "P", headDim]);
  return {
    angles:
      rotaryDim === 0
        ? null
        : { cos: angles("cos"), sin: angles("sin"), queryScale: scalesQueries ? queryScale() : null },
    mask: b.input("mask", maskShape(forest, span)),
    past: null,
    cache: cached
      ? { keys: past("past_keys"), values: past("past_values"), mask: b.input("past_mask", ["gT", "P"]) }
      : null,
  };
}

function maskShape(forest: boolean, span: AttentionSpan | undefined): readonly Dim[] {
  if (span !== undefined) {
    const { queries, before } = blockSizes(span);
    return [queries, before + queries];
  }
  return forest ? ["B", 1, "gT", "T"] : ["gT", "T"];
}

/**
 * Builds the attention and FFN blocks of one layer. Element types follow from the weights: a product has the type that
 * its supply gives it, keys and values that of the past; neurons, norms, softmax and the residual stream are float32. A
 * cast to the type that a value already has adds no node.
 */
class LayerBuilder {
  /** See `LayerValues`; complete once both blocks are built. */
  readonly projected: Map<Projection, Value> = new Map();
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

  attentionBlock(input: Value, inputs: AttentionInputs): BlockValues & Pick<LayerValues, "keys" | "values"> {
    const norms = BLOCK_NORMS[this.#structure.norms].kv;
    const attention = this.#attention(this.#blockNorm(input, norms.input), inputs);
    const projected = this.#linear(attention.tap, "o_proj", this.#structure.hiddenSize);
    return { ...attention, output: this.#residual(input, this.#blockNorm(projected, norms.output)) };
  }

  /** @param stream - what the output is added to; the input, unless the blocks are parallel */
  ffnBlock({ input, stream }: { readonly input: Value; readonly stream: Value }): BlockValues {
    const norms = BLOCK_NORMS[this.#structure.norms].ffn;
    const tap = this.#neurons(this.#blockNorm(input, norms.input));
    const projected = this.#linear(tap, "down_proj", this.#structure.hiddenSize);
    return { tap, output: this.#residual(stream, this.#blockNorm(projected, norms.output)) };
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
    { mask, past, cache = null, angles }: AttentionInputs,
  ): Omit<BlockValues, "output"> & Pick<LayerValues, "keys" | "values"> {
    const b = this.#b;
    const { headDim, groupSize } = this.#structure;
    const { K } = this.#sizes;
    const [batch, tokens] = x.shape as readonly [Dim, Dim, Dim];
    const queries = this.#rotatedNormed(rotateQueries(b, this.#headsOf(x, "q_proj"), angles), "q_norm");
    const newKeys = this.#rotatedNormed(rotate(b, this.#headsOf(x, "k_proj"), angles), "k_norm");
    const newValues = this.#headsOf(x, "v_proj");
    const total = mask.shape.at(-1)!;
    const keys = this.#withPast(b.transpose(newKeys, [0, 2, 1, 3]), past?.keys, total);
    const values = this.#withPast(b.transpose(newValues, [0, 2, 1, 3]), past?.values, total);
    const grouped = b.transpose(b.reshape(queries, [batch, tokens, K, groupSize, headDim]), [0, 2, 3, 1, 4]);
    const sources = { queries: b.cast(grouped, keys.type), keys, values, mask, cache };
    const perHead = addAttention(b, sources, this.#structure);
    const tap = b.reshape(b.transpose(perHead, [0, 3, 1, 2, 4]), [
      batch,
      tokens,
      this.#channels(this.#sizes.N),
    ]);
    return { tap, keys, values };
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
    const { activation, gated } = this.#structure;
    const activate = ACTIVATIONS[activation];
    const active = activate(b, linear(gated ? "gate_proj" : "up_proj"), (name) => parameters.get(name)!);
    return gated ? b.mul(active, linear("up_proj")) : active;
  }

  #linear(x: Value, projection: Projection, outputs: Dim): Value {
    const product = this.#weights.product(x, projection, outputs);
    const projected = this.#withBias(product, projection);
    this.projected.set(projection, projected);
    return projected;
  }

  #withBias(product: Value, projection: Projection): Value {
    if (!this.#structure.biases.includes(projection)) return product;
    const bias = this.#weights.tensor(`${moduleOf(projection)}.bias`, [product.shape.at(-1)!]);
    return this.#b.add(product, this.#b.cast(bias, product.type));
  }

  /** Output of a projection, clipped if all are, as heads, normed if that precedes the rotation: [B, T, heads, H]. */
  #headsOf(x: Value, projection: "q_proj" | "k_proj" | "v_proj"): Value {
    const normName = ({ q_proj: "q_norm", k_proj: "k_norm", v_proj: null } as const)[projection];
    const count = projection === "q_proj" ? this.#sizes.N : this.#sizes.K;
    const { projectionClip } = this.#structure;
    const projected = this.#linear(x, projection, this.#channels(count));
    const product = projectionClip === null ? projected : clip(this.#b, projected, projectionClip);
    const channels = this.#normedIf("projection", product, normName);
    const heads = this.#b.reshape(channels, [...x.shape.slice(0, 2), count, this.#structure.headDim]);
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

  /** Number of channels of `heads` heads. */
  #channels(heads: Dim): Dim {
    const { headDim } = this.#structure;
    return typeof heads === "number" ? heads * headDim : `${heads}*${headDim}`;
  }

  /** Keys or values [B, K, T, H] after those of the past, [B, K, total, H]. */
  #withPast(present: Value, past: Value | undefined, total: Dim): Value {
    if (past === undefined) return present;
    return this.#b.concat([past, this.#b.cast(present, past.type)], 2, total);
  }
}
