/**
 * The inputs that layers have of their own (`PerLayerInputs`): they depend on tokens alone, not on what is before.
 * Tokens that the table has no row for, of images and sound, have that of token 0 (`get_per_layer_inputs` of
 * modeling_gemma3n.py).
 */
import { internalError } from "../../errors.ts";
import type { Model } from "../../model/model.ts";
import type { ModelSpec, PerLayerInputs } from "../../model/spec.ts";
import { EMBEDDING, PER_LAYER } from "../../model/weight_names.ts";
import { readNamed, type Tensor } from "../../tensor/tensor.ts";
import type { Graph, Value } from "../ir/graph.ts";
import { GraphBuilder } from "../ir/graph_builder.ts";
import type { Dim } from "../ir/shapes.ts";
import { requireFiniteResult } from "../runtime/finite.ts";
import type { Feeds, Runtime } from "../runtime/runtime.ts";
import { embeddingRows, requireKnownTokens } from "./embedding_rows.ts";
import { norm } from "./formulas.ts";

/**
 * Rows that are computed at once, always as many: products of another number of rows may differ in their last bits, and
 * the inputs of a token must not depend on the tokens that come with it.
 */
const CHUNK_ROWS = 64;

/** Bytes of the inputs that are kept. Texts use a few thousand different tokens over and over. */
const KEPT_BYTES = 2 ** 29;

/**
 * Bytes that the inputs of layers take, with the weights that they are made with, for `tokens` tokens; 0 without any.
 */
export function ownInputBytes(spec: ModelSpec, tokens: number): number {
  const { perLayerInputs, layers, hiddenSize, vocabSize } = spec;
  if (perLayerInputs === null) return 0;
  const width = layers.length * perLayerInputs.size;
  const kept = Math.min(KEPT_BYTES, 4 * width * Math.min(tokens, vocabSize));
  // While those of a chunk are computed, their operands and products are there too.
  return kept + 4 * width * (hiddenSize + 4 * CHUNK_ROWS);
}

/** Operands of the inputs of layers. */
export interface OwnInputSources {
  /** Embeddings of tokens, times the family's `embeddingScale`, [.., C]. */
  readonly embedded: Value;
  /** Rows of the table, [.., layers * size]. */
  readonly rows: Value;
  /** The product of embeddings with the projection, [.., layers * size]. */
  readonly project: (x: Value) => Value;
  /** The norm's weight, [size]. */
  readonly norm: Value;
}

/**
 * Adds the inputs of all layers to a graph, [.., layers, size]: (norm(embedded projection / sqrt(C)) + rows
 * sqrt(size)) / sqrt(2), as in `project_per_layer_inputs` of modeling_gemma4.py.
 */
export function addOwnInputs(
  b: GraphBuilder,
  spec: ModelSpec,
  { embedded, rows, project, norm: weight }: OwnInputSources,
): Value {
  const { size } = requirePerLayer(spec);
  const shape: readonly Dim[] = [...embedded.shape.slice(0, -1), spec.layers.length, size];
  const projected = b.mul(b.cast(project(embedded), "float32"), b.scalar(spec.hiddenSize ** -0.5));
  const context = norm(b, b.reshape(projected, shape), { ...spec, weight, bias: null });
  const identity = b.mul(b.reshape(rows, shape), b.scalar(Math.sqrt(size)));
  return b.mul(b.add(context, identity), b.scalar(Math.SQRT1_2));
}

function requirePerLayer({ perLayerInputs }: ModelSpec): PerLayerInputs {
  if (perLayerInputs !== null) return perLayerInputs;
  throw internalError("inputs of layers in a model without any");
}

/** Computes the inputs of layers, and keeps those of all tokens so far while they fit. */
export class OwnInputs {
  readonly #model: Model;
  readonly #runtime: Runtime;
  /** Of all layers one after another, [layers * size], by token. */
  #kept: ReadonlyMap<number, Float32Array> = new Map();
  #weights: Promise<Readonly<Record<string, Tensor>>> | undefined;

  constructor(model: Model, runtime: Runtime) {
    this.#model = model;
    this.#runtime = runtime;
  }

  /**
   * The feed of one layer; none in models without such inputs.
   * @param ids - B*T; may be absent in models without
   * @returns `own_input`, [B, T, size]
   */
  async of(
    layer: number,
    ids: Int32Array | undefined,
    [batch, tokens]: readonly [number, number],
  ): Promise<Feeds> {
    const { perLayerInputs, vocabSize } = this.#model.spec;
    if (perLayerInputs === null) return {};
    if (ids === undefined) throw internalError("a layer that needs token ids has none");
    const { size } = perLayerInputs;
    requireKnownTokens(ids, vocabSize);
    const rows = await this.#rowsOf(ids, perLayerInputs);
    const data = new Float32Array(ids.length * size);
    for (const [place, id] of ids.entries()) {
      data.set(rows.get(id)!.subarray(layer * size, (layer + 1) * size), place * size);
    }
    return { own_input: { shape: [batch, tokens, size], data } };
  }

  /** The inputs of all layers for these tokens, by token. */
  async #rowsOf(
    ids: Int32Array,
    { size, vocabSize }: PerLayerInputs,
  ): Promise<ReadonlyMap<number, Float32Array>> {
    const kept = this.#kept;
    const wanted = [...new Set(ids)];
    const missing = wanted.filter((id) => !kept.has(id)).sort((a, b) => a - b);
    if (missing.length === 0) return kept;
    const rows = new Map(wanted.flatMap((id) => (kept.has(id) ? [[id, kept.get(id)!] as const] : [])));
    const width = this.#model.spec.layers.length * size;
    for (let start = 0; start < missing.length; start += CHUNK_ROWS) {
      const chunk = Int32Array.from(missing.slice(start, start + CHUNK_ROWS));
      const values = await this.#compute(chunk, { rows: vocabSize, width });
      for (const [place, id] of chunk.entries()) {
        rows.set(id, values.subarray(place * width, (place + 1) * width));
      }
    }
    this.#keep(rows);
    return rows;
  }

  /**
   * Keeps these as well as those that are kept, or instead of them where both are too many; in another map, since a
   * call may still read that of before.
   */
  #keep(rows: ReadonlyMap<number, Float32Array>): void {
    const [{ byteLength }] = rows.values() as unknown as [Float32Array];
    const both = (this.#kept.size + rows.size) * byteLength <= KEPT_BYTES ? this.#kept : [];
    if (rows.size * byteLength <= KEPT_BYTES) this.#kept = new Map([...both, ...rows]);
  }

  /**
   * @param ids - at most `CHUNK_ROWS`
   * @param table - its rows, and the numbers of a row
   * @returns [CHUNK_ROWS, layers * size], of which the first rows are those of the tokens
   */
  async #compute(
    ids: Int32Array,
    table: { readonly rows: number; readonly width: number },
  ): Promise<Float32Array> {
    const { spec, weights } = this.#model;
    const { hiddenSize: size, vocabSize, embeddingScale } = spec;
    const { rows, width } = table;
    const embedded = await embeddingRows(weights, { name: EMBEDDING, rows: vocabSize, size }, ids);
    const places = ids.map((id) => (id < rows ? id : 0));
    const own = await embeddingRows(weights, { name: PER_LAYER.table, rows, size: width }, places);
    const key = JSON.stringify([spec.perLayerInputs, spec.layers.length, size, spec.normEps]);
    const program = await this.#runtime.program(`own inputs ${key}`, () => ownInputGraph(spec));
    this.#weights ??= readNamed(weights, { projection: PER_LAYER.projection, norm: PER_LAYER.norm });
    const fed = await this.#weights;
    const { inputs } = await program.run({
      ...fed,
      embedded: padded(
        embedded.map((x) => x * embeddingScale),
        size,
      ),
      rows: padded(own, width),
    });
    requireFiniteResult(inputs!, {
      what: "the inputs of layers",
      weights: fed,
      dtype: this.#runtime.device.dtype,
      nameOf: (feed) => PER_LAYER[feed as "projection" | "norm"],
    });
    return inputs!.data;
  }
}

/** Rows with rows of zeros behind them, [CHUNK_ROWS, size]. */
function padded(rows: Float32Array, size: number): Tensor {
  const data = new Float32Array(CHUNK_ROWS * size);
  data.set(rows);
  return { shape: [CHUNK_ROWS, size], data };
}

/** `inputs` [M, layers, size] from `embedded` [M, C], `rows` [M, layers * size], `projection` and `norm`. */
function ownInputGraph(spec: ModelSpec): Graph {
  const b = new GraphBuilder();
  const { size } = requirePerLayer(spec);
  const width = spec.layers.length * size;
  const inputs = addOwnInputs(b, spec, {
    embedded: b.input("embedded", ["M", spec.hiddenSize]),
    rows: b.input("rows", ["M", width]),
    project: (x) => b.matmul(x, b.input("projection", [width, spec.hiddenSize]), { transB: true }),
    norm: b.input("norm", [size]),
  });
  b.output("inputs", inputs);
  return b.finish();
}
