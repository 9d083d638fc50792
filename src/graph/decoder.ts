/**
 * The decoder as graphs: one transformer layer, and the head. Families differ by the properties of `LayerStructure`
 * only; widths (F neurons, K KV groups) are symbolic, so one compiled graph serves layers pruned to any width.
 *
 * Weights enter under their checkpoint names without the `model.layers.i.` prefix, in their stored [out, in] layout.
 * Based on transformers' modeling_llama.py, modeling_qwen3.py and modeling_gemma3.py (eager attention).
 */
import type { SpaceKind } from "../model/spaces.ts";
import { type LayerSpec, type ModelSpec, PROJECTION_MODULE, type Projection } from "../model/spec.ts";
import type { GraphBuilder, Value } from "./graph.ts";

/** Everything that shapes a layer's graph apart from its widths. */
export interface LayerStructure {
  readonly hiddenSize: number;
  readonly headDim: number;
  readonly groupSize: number;
  readonly rotaryDim: number;
  readonly biases: readonly Projection[];
  readonly activation: ModelSpec["activation"];
  readonly normEps: number;
  readonly normOffset: 0 | 1;
  readonly qkNorm: boolean;
  readonly postNorms: boolean;
  readonly attentionScale: number;
}

/** The values of a layer that others build upon. */
export interface LayerValues {
  /** Layer input, [B, T, C]. */
  readonly input: Value;
  /** Layer output, [B, T, C]. */
  readonly output: Value;
  /** Inputs of the output projections, where units are gated: kv [B, T, K*g*H], ffn [B, T, F]. */
  readonly taps: { readonly kv: Value; readonly ffn: Value };
  /** Rotated keys and values of past and present tokens, [B, K, S, H]; S = T without a past. */
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
    rotaryDim: layer.rope.rotaryDim,
    biases: layer.biases,
    activation: spec.activation,
    normEps: spec.normEps,
    normOffset: spec.normOffset,
    qkNorm: spec.qkNorm,
    postNorms: spec.postNorms,
    attentionScale: spec.attentionScale,
  };
}

/**
 * Adds a decoder layer to a graph. Inputs besides weights: `hidden` [B, T, C], `cos` and `sin` [T, rotaryDim / 2],
 * `mask` [g*T, S] (0 where a query sees a key, very negative elsewhere; queries ordered by head, then token), and
 * with `cached` the keys and values of the past, `past_keys` and `past_values` [B, K, P, H].
 */
export function buildLayer(
  b: GraphBuilder,
  structure: LayerStructure,
  { cached = false }: { readonly cached?: boolean } = {},
): LayerValues {
  const layer = new LayerBuilder(b, structure);
  const input = b.input("hidden", ["B", "T", structure.hiddenSize]);
  const attention = layer.attentionBlock(input, cached);
  const ffn = layer.ffnBlock(attention.output);
  return {
    input,
    output: ffn.output,
    taps: { kv: attention.tap, ffn: ffn.tap },
    keys: attention.keys,
    values: attention.values,
    weights: layer.weights(),
  };
}

/** One half of a layer: attention (kv) or FFN with its norms and its residual connection. */
export interface BlockValues {
  /** The residual stream after the block, [B, T, C]. */
  readonly output: Value;
  /** Input of the output projection, [B, T, channels]. */
  readonly tap: Value;
  /** Output of the output projection with its bias, before a norm that follows it, [B, T, C]. */
  readonly projected: Value;
}

/** Adds one half of a layer; inputs as those of `buildLayer`, where `hidden` is the stream before the block. */
export function buildBlock(b: GraphBuilder, structure: LayerStructure, kind: SpaceKind): BlockValues {
  const layer = new LayerBuilder(b, structure);
  const input = b.input("hidden", ["B", "T", structure.hiddenSize]);
  return kind === "kv" ? layer.attentionBlock(input, false) : layer.ffnBlock(input);
}

/** Everything that shapes the head's graph. */
export type HeadStructure = Pick<ModelSpec, "hiddenSize" | "normEps" | "normOffset" | "logitSoftcap">;

/** Normed streams as one half of a layer reads them, [B, T, C] each: the inputs `names`, and the weight of its norm. */
export function buildNormed(
  b: GraphBuilder,
  structure: LayerStructure,
  { kind, names }: { readonly kind: SpaceKind; readonly names: readonly string[] },
): readonly Value[] {
  const layer = new LayerBuilder(b, structure);
  return names.map((name) => layer.normed(b.input(name, ["B", "T", structure.hiddenSize]), kind));
}

/**
 * Adds final norm and vocabulary projection: inputs `norm` [C], `projection` [V, C], and `hidden` [M, C] with any
 * number of other streams of the same shape by name.
 * @returns input and logits [M, V] of every stream
 */
export function buildLogits(
  b: GraphBuilder,
  spec: HeadStructure,
  streams: readonly string[] = ["hidden"],
): readonly { readonly input: Value; readonly logits: Value }[] {
  const inputs = streams.map((name) => b.input(name, ["M", spec.hiddenSize]));
  const norm = b.input("norm", [spec.hiddenSize]);
  const projection = b.input("projection", ["V", spec.hiddenSize]);
  return inputs.map((input) => {
    const logits = b.matmul(rmsNorm(b, input, norm, spec), projection, { transB: true });
    if (spec.logitSoftcap === null) return { input, logits };
    const cap = b.scalar(spec.logitSoftcap);
    return { input, logits: b.mul(b.tanh(b.div(logits, cap)), cap) };
  });
}

/** x / sqrt(mean(x^2) + eps) * (offset + weight) over the last axis (arXiv 1910.07467). */
function rmsNorm(
  b: GraphBuilder,
  x: Value,
  weight: Value,
  { normEps, normOffset }: Pick<ModelSpec, "normEps" | "normOffset">,
): Value {
  const meanSquare = b.reduceMean(b.mul(x, x), [-1]);
  const normed = b.div(x, b.sqrt(b.add(meanSquare, b.scalar(normEps))));
  return b.mul(normed, normOffset === 1 ? b.add(weight, b.scalar(1)) : weight);
}

class LayerBuilder {
  readonly #weights = new Map<string, Value>();
  readonly #b: GraphBuilder;
  readonly #structure: LayerStructure;

  constructor(b: GraphBuilder, structure: LayerStructure) {
    this.#b = b;
    this.#structure = structure;
  }

  attentionBlock(input: Value, cached: boolean): BlockValues & Pick<LayerValues, "keys" | "values"> {
    const { postNorms } = this.#structure;
    const attention = this.#attention(this.normed(input, "kv"), cached);
    const { projected } = attention;
    const attended = postNorms ? this.#norm(projected, "post_attention_layernorm") : projected;
    return { ...attention, output: this.#b.add(input, attended) };
  }

  ffnBlock(input: Value): BlockValues {
    const { postNorms } = this.#structure;
    const ffn = this.#ffn(this.normed(input, "ffn"));
    const fed = postNorms ? this.#norm(ffn.projected, "post_feedforward_layernorm") : ffn.projected;
    return { ...ffn, output: this.#b.add(input, fed) };
  }

  /** The stream as the input projections of one half of the layer see it. */
  normed(input: Value, kind: SpaceKind): Value {
    const beforeFfn = this.#structure.postNorms ? "pre_feedforward_layernorm" : "post_attention_layernorm";
    return this.#norm(input, kind === "kv" ? "input_layernorm" : beforeFfn);
  }

  /** What was read so far, without the tables of positions. */
  weights(): ReadonlyMap<string, Value> {
    return new Map([...this.#weights].filter(([name]) => /\.(?:weight|bias)$/.test(name)));
  }

  #norm(x: Value, name: string): Value {
    return rmsNorm(this.#b, x, this.#weight(`${name}.weight`, [x.shape.at(-1)!]), this.#structure);
  }

  /** Grouped-query attention: the g query heads of a group share one [S, H] key and value matrix. */
  #attention(x: Value, cached: boolean): Omit<BlockValues, "output"> & Pick<LayerValues, "keys" | "values"> {
    const b = this.#b;
    const { headDim, groupSize, attentionScale, qkNorm } = this.#structure;
    const q = b.reshape(this.#linear(x, "q_proj", "Q"), ["B", "T", "K", groupSize, headDim]);
    const k = b.reshape(this.#linear(x, "k_proj", "KV"), ["B", "T", "K", headDim]);
    const v = b.reshape(this.#linear(x, "v_proj", "KV"), ["B", "T", "K", headDim]);
    const queries = b.transpose(qkNorm ? this.#norm(q, "self_attn.q_norm") : q, [0, 2, 3, 1, 4]);
    const newKeys = this.#rotate(b.transpose(qkNorm ? this.#norm(k, "self_attn.k_norm") : k, [0, 2, 1, 3]));
    const keys = this.#withPast(newKeys, "past_keys", cached);
    const values = this.#withPast(b.transpose(v, [0, 2, 1, 3]), "past_values", cached);
    const stacked = b.reshape(this.#rotate(queries), ["B", "K", "gT", headDim]);
    const scores = b.matmul(stacked, keys, { transB: true, alpha: attentionScale });
    const mask = b.input("mask", ["gT", keys.shape[2]!]);
    const mixed = b.matmul(b.softmax(b.add(scores, mask)), values);
    const perHead = b.reshape(mixed, ["B", "K", groupSize, "T", headDim]);
    const tap = b.reshape(b.transpose(perHead, [0, 3, 1, 2, 4]), ["B", "T", "Q"]);
    return { projected: this.#linear(tap, "o_proj", this.#structure.hiddenSize), tap, keys, values };
  }

  /** down(act(gate(x)) * up(x)); the tap is down's input. */
  #ffn(x: Value): Omit<BlockValues, "output"> {
    const b = this.#b;
    const gate = this.#linear(x, "gate_proj", "F");
    const activated = this.#structure.activation === "silu" ? b.mul(gate, b.sigmoid(gate)) : gelu(b, gate);
    const tap = b.mul(activated, this.#linear(x, "up_proj", "F"));
    return { projected: this.#linear(tap, "down_proj", this.#structure.hiddenSize), tap };
  }

  #linear(x: Value, projection: Projection, outputs: string | number): Value {
    const name = `${PROJECTION_MODULE[projection]}.${projection}`;
    const product = this.#b.matmul(x, this.#weight(`${name}.weight`, [outputs, x.shape.at(-1)!]), {
      transB: true,
    });
    if (!this.#structure.biases.includes(projection)) return product;
    return this.#b.add(product, this.#weight(`${name}.bias`, [outputs]));
  }

  /** Rotates channel pairs (i, i + R/2) of the first R channels of the last axis by the token's angles. */
  #rotate(x: Value): Value {
    const b = this.#b;
    const { headDim, rotaryDim } = this.#structure;
    const half = rotaryDim / 2;
    const axis = x.shape.length - 1;
    const cos = this.#weight("cos", ["T", half]);
    const sin = this.#weight("sin", ["T", half]);
    const first = b.slice(x, axis, { start: 0, end: half });
    const second = b.slice(x, axis, { start: half, end: rotaryDim });
    const turned = [
      b.sub(b.mul(first, cos), b.mul(second, sin)),
      b.add(b.mul(second, cos), b.mul(first, sin)),
    ];
    const rest = rotaryDim < headDim ? [b.slice(x, axis, { start: rotaryDim, end: headDim })] : [];
    return b.concat([...turned, ...rest], axis, headDim);
  }

  #withPast(present: Value, name: string, cached: boolean): Value {
    if (!cached) return present;
    const past = this.#b.input(name, present.shape.with(2, "P"));
    return this.#b.concat([past, present], 2, "S");
  }

  #weight(name: string, shape: Value["shape"]): Value {
    let value = this.#weights.get(name);
    if (value === undefined) {
      value = this.#b.input(name, shape);
      this.#weights.set(name, value);
    }
    return value;
  }
}

/** The tanh approximation of GELU (arXiv 1606.08415): x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))). */
function gelu(b: GraphBuilder, x: Value): Value {
  const cube = b.mul(b.mul(x, x), x);
  const inner = b.mul(b.add(x, b.mul(cube, b.scalar(0.044715))), b.scalar(Math.sqrt(2 / Math.PI)));
  return b.mul(b.mul(x, b.scalar(0.5)), b.add(b.tanh(inner), b.scalar(1)));
}
