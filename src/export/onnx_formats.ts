/** The number formats of ONNX exports as data, and the weights of an exported decoder in one of them. */
import type { OnnxDType } from "../base/choices.ts";
import type { DecoderWeights } from "../graph/decoder/decoder_model.ts";
import type { Value, ValueType } from "../graph/ir/graph.ts";
import type { GraphBuilder } from "../graph/ir/graph_builder.ts";
import { LAYER_MATRICES, type LayerMatrix } from "../model/projections.ts";
import type { ModelSpec } from "../model/spec.ts";
import { type StackedExperts, stackedShape, stackedWeights } from "../model/stacked_experts.ts";
import { STREAMS_OUT } from "../model/stream_updates.ts";
import { EMBEDDING, HEAD, PER_LAYER, projectionName } from "../model/weight_names.ts";
import { weightsOf } from "../model/weights.ts";
import {
  blocks,
  floatColumns,
  floatRows,
  type Matrix,
  type MatrixFormat,
  plainTensor,
  type StoredWeight,
} from "./onnx_matrices.ts";

export interface OnnxFormat {
  /** transformers.js's name for the dtype. */
  readonly dtype: string;
  /** Suffix of the file name `model*.onnx` for this dtype (src/utils/dtypes.js of transformers.js). */
  readonly suffix: string;
  readonly cacheType: ValueType;
  /**
   * All experts compute for every token. Providers without float16 products convert the matrices that these read: once
   * in the graph as a whole, but in every run in a graph within it, where experts of their own tokens are.
   */
  readonly allExperts: boolean;
  readonly matrices: Readonly<Record<LayerMatrix, MatrixFormat>>;
  /** The embedding matrix [V, C], which is also the head of models with tied embeddings. */
  readonly embeddings: MatrixFormat;
  /** The head of models with untied embeddings. */
  readonly head: MatrixFormat;
}

/**
 * No norm bounds the inputs and outputs of o_proj and down_proj: they exceed float16's 65,504 in Gemma 3 and reach half
 * of it in SmolLM2-135M (microsoft/onnxruntime#26732). Nor does one bound hidden states where they gate inputs of
 * layers, or are joined. Divided by this, values below 0.004 become subnormal.
 */
const HEADROOM = 64;

/**
 * int4 keeps eight bits for the matrices that four bits harm most: v_proj (k_proj where values are keys) and down_proj,
 * to which llama.cpp's mixtures give more bits too (`llama_tensor_get_type`), what makes the values of linear
 * attention, the embedding and the head.
 */
export const ONNX_FORMATS: Readonly<Record<OnnxDType, OnnxFormat>> = {
  f32: {
    dtype: "fp32",
    suffix: "",
    cacheType: "float32",
    allExperts: false,
    matrices: alike(floatColumns("float32")),
    embeddings: floatRows("float32"),
    head: floatColumns("float32"),
  },
  f16: {
    dtype: "fp16",
    suffix: "_fp16",
    cacheType: "float16",
    allExperts: true,
    matrices: {
      ...alike(floatColumns("float16")),
      o_proj: floatColumns("float16", HEADROOM),
      "conv.out_proj": floatColumns("float16", HEADROOM),
      "linear_attn.out_proj": floatColumns("float16", HEADROOM),
      "mamba.out_proj": floatColumns("float16", HEADROOM),
      down_proj: floatColumns("float16", HEADROOM),
      "mlp.shared_expert.down_proj": floatColumns("float16", HEADROOM),
      ...Object.fromEntries(STREAMS_OUT.map((name) => [name, floatColumns("float16", HEADROOM)])),
      per_layer_input_gate: floatColumns("float16", HEADROOM),
      per_layer_projection: floatColumns("float16", HEADROOM),
    },
    embeddings: floatRows("float16"),
    head: floatColumns("float16"),
  },
  int8: {
    dtype: "int8",
    suffix: "_int8",
    cacheType: "float32",
    allExperts: false,
    matrices: alike(blocks(8)),
    embeddings: blocks(8),
    head: blocks(8),
  },
  int4: {
    dtype: "q4",
    suffix: "_q4",
    cacheType: "float32",
    allExperts: false,
    matrices: {
      ...alike(blocks(4)),
      v_proj: blocks(8),
      "self_attn.kv_a_proj": blocks(8),
      "linear_attn.in_proj_qkv": blocks(8),
      "mamba.in_proj": blocks(8),
      down_proj: blocks(8),
      "mlp.shared_expert.down_proj": blocks(8),
    },
    embeddings: blocks(8),
    head: blocks(8),
  },
};

/** The weights of a decoder as initializers of its graph, added where the graph first uses them. */
export class StoredWeights implements DecoderWeights {
  readonly cacheType: ValueType;
  readonly allExperts: boolean;
  readonly #b: GraphBuilder;
  readonly #spec: ModelSpec;
  readonly #format: OnnxFormat;
  readonly #shapes: ReadonlyMap<string, readonly number[]>;
  readonly #experts: ReadonlyMap<string, StackedExperts>;
  readonly #stored: StoredWeight[] = [];
  #embeddings: Matrix | undefined;

  constructor(b: GraphBuilder, spec: ModelSpec, format: OnnxFormat) {
    this.#b = b;
    this.#spec = spec;
    this.#format = format;
    this.#shapes = new Map(weightsOf(spec).map(({ name, shape }) => [name, shape]));
    this.#experts = stackedWeights(spec);
    this.cacheType = format.cacheType;
    this.allExperts = format.allExperts;
  }

  /** Every weight that the graph uses, in the order of its initializers. */
  get stored(): readonly StoredWeight[] {
    return this.#stored;
  }

  embed(ids: Value): Value {
    this.#embeddings = this.#matrix(EMBEDDING, this.#format.embeddings);
    return this.#embeddings.rows(ids);
  }

  get own(): DecoderWeights["own"] {
    return {
      rows: (ids) => this.#matrix(PER_LAYER.table, this.#format.embeddings).rows(ids),
      project: (x) =>
        this.#matrix(PER_LAYER.projection, this.#format.matrices.per_layer_projection).product(x),
    };
  }

  layer(index: number): ReturnType<DecoderWeights["layer"]> {
    const prefix = `model.layers.${index}.`;
    const { matrices } = this.#format;
    const ofKeys = this.#spec.layers[index]!.valuesAreKeys ? matrices.v_proj : matrices.k_proj;
    return {
      tensor: (name) => this.tensor(prefix + name),
      product: (x, matrix) =>
        this.#matrix(projectionName(index, matrix), matrix === "k_proj" ? ofKeys : matrices[matrix]).product(
          x,
        ),
      expertProduct: (rows, { matrix, groups }) => {
        const own = this.#expertMatrices(projectionName(index, matrix), matrices[matrix]);
        return groups.each(rows, 0, (x, expert) => own[expert]!.product(x));
      },
    };
  }

  tensor(name: string): Value {
    const { value, stored } = plainTensor(this.#b, name, this.#shapes.get(name)!);
    this.#stored.push(stored);
    return value;
  }

  project(x: Value): Value {
    const head = this.#spec.tiedEmbeddings ? this.#embeddings! : this.#matrix(HEAD, this.#format.head);
    return head.product(x);
  }

  #matrix(name: string, format: MatrixFormat): Matrix {
    const matrix = format(this.#b, name, this.#shapes.get(name)! as readonly [number, number]);
    this.#stored.push(matrix.stored);
    return matrix;
  }

  /** The matrices of a layer's experts; `NAME.EXPERT` are the names of their initializers. */
  #expertMatrices(name: string, format: MatrixFormat): readonly Matrix[] {
    const experts = this.#experts.get(name)!;
    const shape = this.#shapes.get(name)! as readonly [number, number];
    const [, ...own] = stackedShape(shape, experts, experts.count);
    return Array.from({ length: experts.count }, (_, index) => {
      const matrix = format(this.#b, `${name}.${index}`, own);
      this.#stored.push({ ...matrix.stored, source: name, expert: { index, experts } });
      return matrix;
    });
  }
}

/** One format for every matrix of a layer. */
function alike(format: MatrixFormat): Readonly<Record<LayerMatrix, MatrixFormat>> {
  const entries = LAYER_MATRICES.map((matrix) => [matrix, format]);
  return Object.fromEntries(entries) as Record<LayerMatrix, MatrixFormat>;
}
