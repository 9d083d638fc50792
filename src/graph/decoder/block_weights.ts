/**
 * Integer matrices for decoding token by token, where reading weights takes nearly all the time. Matrices that are
 * stored in blocks are multiplied as they are (block_products.ts) and never become float32; others can become two terms
 * of integers, half the size. They are initializers of a program for one layer, since MatMulNBits packs its weights
 * when a session is opened; all other weights are fed, as everywhere. Only on the CPU, for one sequence with a cache.
 */
import { getOrMake } from "../../base/map_values.ts";
import { internalError } from "../../errors.ts";
import type { Model } from "../../model/model.ts";
import type { LayerMatrix } from "../../model/projections.ts";
import { stacked, stackedRows, stackedWeights } from "../../model/stacked_experts.ts";
import { isQkNorm, projectionName } from "../../model/weight_names.ts";
import { layerWeightsOf, type WeightSpec, weightsOf } from "../../model/weights.ts";
import { type BlockSource, type BlockTensor, blockBytes, blockRows } from "../../tensor/blocks.ts";
import { type RowRange, readNamed, type Tensor } from "../../tensor/tensor.ts";
import { inTwoTerms, TWO_TERMS } from "../../tensor/two_terms.ts";
import type { Graph, Value } from "../ir/graph.ts";
import { GraphBuilder } from "../ir/graph_builder.ts";
import type { Dim } from "../ir/shapes.ts";
import {
  BLOCK_PARTS,
  type BlockForm,
  type BlockPart,
  BlockProducts,
  type BlockWeight,
  blockWeight,
} from "../runtime/block_products.ts";
import { requireFiniteBlocks, requireFiniteWeight } from "../runtime/finite.ts";
import type { FilledProgram, Runtime } from "../runtime/runtime.ts";
import type { DecoderRunner, LoadedHead, LoadedLayer } from "./decoder_runner.ts";
import { weightsByExpert } from "./experts.ts";
import { addLogits, headInputs, headWeights } from "./head.ts";
import { layerSizes, layerStructure } from "./layer_structure.ts";
import { buildCached, structureFor } from "./programs.ts";
import { type ExpertProduct, expertOfFeed, WeightInputs } from "./weight_supply.ts";

/** Largest number of bytes of weights in one program: below protobuf's 2^31 - 1, with room for the graph. */
const MAX_PROGRAM_BYTES = 2_000_000_000;

/** Whether any matrix of a model is in blocks. */
export function hasBlocks({ spec }: Model, blocks: BlockSource): boolean {
  return weightsOf(spec).some(({ name }) => blocks.layout(name) !== undefined);
}

/** All matrices in blocks: as their file stores them, else converted to two terms. */
export function everyMatrix({ spec, weights }: Model): BlockSource {
  const { blocks: stored } = weights;
  const experts = stackedWeights(spec);
  const matrices = new Set(
    weightsOf(spec).flatMap(({ name, shape }) => (shape.length === 2 && isMultiplied(name) ? [name] : [])),
  );
  return {
    layout: (name) => stored?.layout(name) ?? (matrices.has(name) ? TWO_TERMS : undefined),
    read: async (name) => {
      if (stored?.layout(name) !== undefined) return stored.read(name);
      const matrix = await weights.read(name);
      requireFiniteWeight(name, matrix, "decoding");
      const own = experts.get(name);
      if (own === undefined) return inTwoTerms(matrix);
      return inTwoTerms({ shape: stackedRows(matrix.shape, own), data: stacked(matrix, own) });
    },
  };
}

/** Whether a weight with rows is the matrix of a product, and not of norms or of biases by expert. */
function isMultiplied(name: string): boolean {
  return !isQkNorm(name) && !name.endsWith(".bias");
}

/**
 * Reads the weights of a layer; matrices in blocks stay so unless they exceed what a program can hold. A layer with
 * some can only run `cached`, one sequence at a time.
 * @throws GpruneError NOT_FINITE naming a matrix that is not finite
 */
export async function loadBlockLayer(
  runner: DecoderRunner,
  blocks: BlockSource,
  index: number,
): Promise<LoadedLayer> {
  const { model, runtime } = runner;
  const spec = model.spec.layers[index];
  if (spec === undefined) throw internalError(`no layer ${index}`);
  const experts = stackedWeights(model.spec);
  const stored = layerWeightsOf(model.spec, index).map(({ name, shape }) => {
    const own = experts.get(name);
    return { name, shape: own === undefined ? shape : stackedRows(shape, own) };
  });
  const bytes = bytesInBlocks(stored, blocks);
  if (bytes === 0 || bytes > MAX_PROGRAM_BYTES) return runner.loadLayer(index);
  const b = new GraphBuilder();
  const held = new HeldBlocks(b, blocks);
  const weights = new BlockInputs(b, held, index);
  const structure = structureFor("cached", layerStructure(model.spec, index), { tokens: 1, window: null });
  const layer = buildCached(b, structure, { sizes: layerSizes(spec), weights });
  const program = await held.open(runtime, b.finish());
  const fed = new Set(Array.from(layer.weights.keys(), (name) => expertOfFeed(name)?.name ?? name));
  const read: Record<string, Tensor> = {};
  for (const name of fed) read[name] = await model.weights.read(`model.layers.${index}.${name}`);
  return { index, spec, weights: weightsByExpert(spec, read), program };
}

/**
 * Reads final norm and vocabulary projection, which stays in blocks if it is in blocks. The head can then only run
 * `logits`.
 */
export async function loadBlockHead(runner: DecoderRunner, blocks: BlockSource): Promise<LoadedHead> {
  const { model, runtime } = runner;
  const { spec, weights } = model;
  const { projection: matrix, ...vectors } = headWeights(spec);
  const projection = { name: matrix, shape: [spec.vocabSize, spec.hiddenSize] };
  const bytes = bytesInBlocks([projection], blocks);
  if (bytes === 0 || bytes > MAX_PROGRAM_BYTES) return runner.loadHead();
  const b = new GraphBuilder();
  const held = new HeldBlocks(b, blocks);
  const rows = b.input("hidden", ["M", spec.hiddenSize]);
  const input = b.reshape(rows, [1, "M", spec.hiddenSize]);
  const supply = headInputs(b, spec, {
    matrix: { project: (x) => held.product(x, matrix, spec.vocabSize)!, rows: spec.vocabSize },
  });
  const logits = addLogits(b, spec, { input, ...supply });
  b.output("logits", b.reshape(logits, ["M", spec.vocabSize]));
  const program = await held.open(runtime, b.finish());
  return { weights: await readNamed(weights, vectors), program };
}

/** Total bytes of the weights that are in blocks. */
function bytesInBlocks(weights: readonly Pick<WeightSpec, "name" | "shape">[], blocks: BlockSource): number {
  return weights.reduce((sum, { name, shape }) => {
    const layout = blocks.layout(name);
    return layout === undefined ? sum : sum + blockBytes(shape as readonly [number, number], layout);
  }, 0);
}

/** A layer's weights as inputs, except matrices in blocks. */
class BlockInputs extends WeightInputs {
  readonly #held: HeldBlocks;
  readonly #layer: number;

  constructor(b: GraphBuilder, held: HeldBlocks, layer: number) {
    super(b);
    this.#held = held;
    this.#layer = layer;
  }

  override product(x: Value, matrix: LayerMatrix, outputs: Dim): Value {
    const name = projectionName(this.#layer, matrix);
    return this.#held.product(x, name, outputs as number) ?? super.product(x, matrix, outputs);
  }

  override expertProduct(rows: Value, product: ExpertProduct): Value {
    const name = projectionName(this.#layer, product.matrix);
    return this.#held.expertProduct(rows, name, product) ?? super.expertProduct(rows, product);
  }
}

/** An initializer of a graph: a part of a matrix in blocks, or of the rows of one expert's. */
interface HeldPart {
  readonly matrix: string;
  readonly part: BlockPart;
  /** Null for all. */
  readonly own: RowRange | null;
}

function partOf(matrix: BlockTensor, part: BlockPart, own: RowRange | null): Uint8Array | Float32Array {
  const values = matrix[part]!;
  return own === null ? values : blockRows(matrix, values, own);
}

/** Matrices in blocks that a graph holds. */
class HeldBlocks {
  readonly #b: GraphBuilder;
  readonly #blocks: BlockSource;
  readonly #products: BlockProducts;
  /** Rows as sequences, by their names. */
  readonly #sequences = new Map<string, Value>();
  /** What every initializer is, by its name; those of a matrix are consecutive. */
  readonly #parts = new Map<string, HeldPart>();

  constructor(b: GraphBuilder, blocks: BlockSource) {
    this.#b = b;
    this.#blocks = blocks;
    this.#products = new BlockProducts(b);
  }

  /** x [1, T, I] times the transpose of a matrix [rows, I]; undefined if the matrix is not in blocks. */
  product(x: Value, name: string, rows: number): Value | undefined {
    const layout = this.#blocks.layout(name);
    if (layout === undefined) return undefined;
    const shape = [rows, x.shape.at(-1) as number] as const;
    return this.#products.product(x, this.#weight(name, { shape, layout }));
  }

  /** The product of an expert's rows [M, I] with its own matrix, likewise. */
  expertProduct(x: Value, name: string, { groups, outputs }: ExpertProduct): Value | undefined {
    const layout = this.#blocks.layout(name);
    if (layout === undefined) return undefined;
    const b = this.#b;
    const [rows, columns] = x.shape as readonly [Dim, number];
    const shape = [outputs as number, columns] as const;
    const weights = Array.from({ length: groups.count }, (_, expert) =>
      this.#weight(name, { shape, layout }, expert),
    );
    const input = getOrMake(this.#sequences, x.name, () => b.reshape(x, [1, rows, columns]));
    return b.reshape(this.#products.groupProduct(input, weights, groups), [rows, shape[0]]);
  }

  #weight(matrix: string, form: BlockForm, expert?: number): BlockWeight {
    const name = expert === undefined ? matrix : `${matrix}.${expert}`;
    const [rows] = form.shape;
    const own = expert === undefined ? null : { start: expert * rows, end: (expert + 1) * rows };
    for (const part of BLOCK_PARTS) this.#parts.set(`${name}.${part}`, { matrix, part, own });
    return blockWeight(this.#b, name, form);
  }

  /** Compiles a finished graph, reading its matrices one at a time; holds one of them besides the encoded graph. */
  open(runtime: Runtime, graph: Graph): Promise<FilledProgram> {
    let latest: { readonly name: string; readonly matrix: BlockTensor } | undefined;
    return runtime.filledProgram(graph, async ({ name }) => {
      const { matrix, part, own } = this.#parts.get(name)!;
      if (latest?.name !== matrix) {
        latest = { name: matrix, matrix: await this.#blocks.read(matrix) };
        requireFiniteBlocks(matrix, latest.matrix);
      }
      const values = partOf(latest.matrix, part, own);
      return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    });
  }
}
