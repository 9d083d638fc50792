/**
 * Linear attention. Every value head has a state S, keyDim x valueDim; token t fades it, adds its value under its key,
 * and reads it with its query:
 *
 *   S = exp(decay_t) S + k_t v_t^T;  o_t = scale S^T q_t
 *
 * By the gated delta rule (arXiv 2412.06464) it adds strength_t (v_t - what k_t finds in the faded state) in place of
 * v_t. Sequences of known length go in chunks (section 3.3 there), by operators that have derivatives; all else by ONNX
 * Runtime's operator, token by token.
 */
import { type LinearAttentionSpec, linearChannels, stateShape } from "../../model/mixer_spec.ts";
import { elementCount } from "../../tensor/tensor.ts";
import type { Value } from "../ir/graph.ts";
import type { GraphBuilder } from "../ir/graph_builder.ts";
import { gatherRows, linearAttentionOperator } from "../ir/operators.ts";
import type { Dim } from "../ir/shapes.ts";
import { INVISIBLE } from "./positions.ts";

/** Operands, float32. */
export interface LinearOperands {
  /** [B, T, keyHeads, keyDim] */
  readonly queries: Value;
  readonly keys: Value;
  /** [B, T, valueHeads, valueDim] */
  readonly values: Value;
  /** Logarithms of what is left of the state, at most 0, [B, T, valueHeads]. */
  readonly decay: Value;
  /** Parts of errors that the delta rule corrects, 0 to 2, [B, T, valueHeads]; null without it. */
  readonly strength: Value | null;
}

/** Sizes and scale, and how tokens follow one another. */
export interface LinearOptions {
  readonly sizes: LinearAttentionSpec;
  /** Factor on outputs. */
  readonly scale: number;
  /** States before the present tokens, [B, valueHeads, keyDim, valueDim]; zeros where absent. */
  readonly state?: Value;
  /** For forests, their sequences; rows are sequences when absent. */
  readonly paths?: ForestPaths;
}

/** The sequences of forests. */
export interface ForestPaths {
  /** The rows of B*T of every sequence's tokens, int32 [L, P]; B*T after its end. */
  readonly rows: Value;
  /** A place of every token among L*P, int32 [B, T]. */
  readonly places: Value;
}

/** What linear attention gives. */
export interface LinearResult {
  /** [B, T, valueHeads, valueDim] */
  readonly output: Value;
  /** States after the present tokens; null where they are not wanted. */
  readonly state: Value | null;
}

/** Tokens of a chunk. With half as many, gradients take a little longer, and with twice as many, everything does. */
export const CHUNK_TOKENS = 64;

/** Applies linear attention to all tokens. */
export function linearAttention(
  b: GraphBuilder,
  operands: LinearOperands,
  { paths, ...options }: LinearOptions,
): LinearResult {
  if (paths !== undefined) return { output: inForests(b, operands, { ...options, paths }), state: null };
  const hasLength = typeof operands.values.shape[1] === "number";
  if (options.state !== undefined || !hasLength) return byOperator(b, operands, options);
  return { output: inChunks(b, operands, options), state: null };
}

function byOperator(b: GraphBuilder, operands: LinearOperands, options: LinearOptions): LinearResult {
  const { sizes, scale, state } = options;
  const { keys, values } = linearChannels(sizes);
  const [batch, tokens] = operands.values.shape as readonly [Dim, Dim, Dim, Dim];
  const packed = (x: Value, channels: number): Value => b.reshape(x, [batch, tokens, channels]);
  const { output, present } = linearAttentionOperator(b, {
    queries: packed(operands.queries, keys),
    keys: packed(operands.keys, keys),
    values: packed(operands.values, values),
    past: state ?? emptyStates(b, operands.values, sizes),
    decay: operands.decay,
    strength: operands.strength,
    queryHeads: sizes.keyHeads,
    valueHeads: sizes.valueHeads,
    scale,
  });
  return { output: b.reshape(output, operands.values.shape), state: present };
}

/** Zeros [B, valueHeads, keyDim, valueDim] for x [B, ..]. */
function emptyStates(b: GraphBuilder, x: Value, sizes: LinearAttentionSpec): Value {
  const shape = stateShape(sizes);
  const size = elementCount(shape);
  const zeros = b.constant([1, size], { type: "float32", data: new Float32Array(size) });
  return b.reshape(b.mul(b.onesAlong(x, 0), zeros), [x.shape[0]!, ...shape]);
}

/** The sequences of forests, each from its beginning: shared tokens are computed once for each sequence. */
function inForests(
  b: GraphBuilder,
  { queries, keys, values, decay, strength }: LinearOperands,
  { paths, ...options }: LinearOptions & { readonly paths: ForestPaths },
): Value {
  const [batch, tokens, heads, size] = values.shape as readonly [Dim, Dim, number, number];
  const [sequences, length] = paths.rows.shape as readonly [Dim, Dim];
  const inSequences = (x: Value): Value => {
    const channels = x.shape.slice(2).reduce<number>((product, dim) => product * Number(dim), 1);
    const rows = b.flatten(b.reshape(x, [batch, tokens, channels]));
    const gathered = gatherRows(b, b.pad(rows, 0, { before: 0, after: 1 }), paths.rows);
    return b.reshape(gathered, [sequences, length, ...x.shape.slice(2)]);
  };
  const ofSequences = {
    queries: inSequences(queries),
    keys: inSequences(keys),
    values: inSequences(values),
    decay: inSequences(decay),
    strength: strength && inSequences(strength),
  };
  const { output } = byOperator(b, ofSequences, options);
  const rows = b.flatten(b.reshape(output, [sequences, length, heads * size]));
  return b.reshape(gatherRows(b, rows, paths.places), [batch, tokens, heads, size]);
}

/** Operands in n chunks of C tokens, where r value heads share a key head. */
interface Chunks {
  /** [B, keyHeads, 1, n, C, keyDim] */
  readonly queries: Value;
  readonly keys: Value;
  /** [B, keyHeads, r, n, C, valueDim] */
  readonly values: Value;
  /** [B, keyHeads, r, n, C, 1] */
  readonly strength: Value | null;
  /** Sums of the decay from the chunk's beginning to each token, [B, keyHeads, r, n, C]. */
  readonly decay: Value;
  /**
   * Those from after each token s to each later token t, 0 for others, [B, keyHeads, r, n, C (t), C (s)]. They are
   * added up by themselves: a difference of sums from the beginning has no more than the digits of these.
   */
  readonly since: Value;
}

/** Within a chunk tokens see one another, and from chunk to chunk the states go on. */
function inChunks(b: GraphBuilder, operands: LinearOperands, { sizes, scale }: LinearOptions): Value {
  const tokens = operands.values.shape[1] as number;
  const size = Math.min(CHUNK_TOKENS, tokens);
  const count = Math.ceil(tokens / size);
  const chunks = chunksOf(b, operands, { sizes, size, count });
  const { queries, keys, decay, since } = chunks;
  const future = matrixOf(b, size, (t, s) => (s > t ? INVISIBLE : 0));
  const between = b.exp(b.add(since, future));
  const last = b.slice(decay, 4, { start: size - 1, end: size });
  const toEnd = b.reshape(b.slice(since, 4, { start: size - 1, end: size }), decay.shape);
  const parts: StateParts = {
    ...additions(b, chunks, between),
    seen: b.mul(b.matmul(queries, keys, { transB: true, alpha: scale }), between),
    queries: b.mul(b.mul(queries, column(b, b.exp(decay))), b.scalar(scale)),
    keys: b.mul(keys, column(b, b.exp(toEnd))),
    left: column(b, b.exp(last)),
  };
  const output = b.transpose(alongChunks(b, parts, count), [0, 3, 4, 1, 2, 5]);
  const { valueHeads, valueDim } = sizes;
  const inOrder = b.reshape(output, [output.shape[0]!, count * size, valueHeads, valueDim]);
  return b.trim(inOrder, 1, { before: 0, after: count * size - tokens, size: tokens });
}

/** x [.., C] as columns, [.., C, 1]. */
function column(b: GraphBuilder, x: Value): Value {
  return b.reshape(x, [...x.shape, 1]);
}

/**
 * What the tokens of every chunk add to an empty state: their values or, by the delta rule, the corrections, which
 * solve a triangular system. Tokens that are missing in the last chunk have neither keys nor strength.
 * @param between - what is left between the tokens of a chunk, [B, keyHeads, r, n, C, C]
 */
function additions(
  b: GraphBuilder,
  { keys, values, strength, decay }: Chunks,
  between: Value,
): Pick<StateParts, "added" | "found"> {
  if (strength === null) return { added: values, found: null };
  const similar = b.mul(b.mul(b.matmul(keys, keys, { transB: true }), between), strength);
  const solve = unitLowerInverse(b, similar, decay.shape[4] as number);
  const fromStart = column(b, b.exp(decay));
  return {
    added: b.matmul(solve, b.mul(values, strength)),
    found: b.matmul(solve, b.mul(keys, b.mul(strength, fromStart))),
  };
}

function chunksOf(
  b: GraphBuilder,
  operands: LinearOperands,
  {
    sizes: { keyHeads, valueHeads, keyDim, valueDim },
    size,
    count,
  }: { readonly sizes: LinearAttentionSpec; readonly size: number; readonly count: number },
): Chunks {
  const batch = operands.values.shape[0]!;
  const shared = valueHeads / keyHeads;
  const chunked = (x: Value, heads: readonly number[]): Value => {
    const missing = count * size - (x.shape[1] as number);
    const whole = missing === 0 ? x : b.pad(x, 1, { before: 0, after: missing });
    return b.reshape(whole, [batch, count, size, ...heads]);
  };
  const ofKeys = (x: Value): Value => {
    const byHead = b.transpose(chunked(x, [keyHeads, keyDim]), [0, 3, 1, 2, 4]);
    return b.reshape(byHead, [batch, keyHeads, 1, count, size, keyDim]);
  };
  const ofHeads = (x: Value): Value => b.transpose(chunked(x, [keyHeads, shared]), [0, 3, 4, 1, 2]);
  const decay = ofHeads(operands.decay);
  const upTo = matrixOf(b, size, (t, s) => (s <= t ? 1 : 0));
  const after = matrixOf(b, size, (t, s) => (t > s ? 1 : 0));
  return {
    queries: ofKeys(operands.queries),
    keys: ofKeys(operands.keys),
    values: b.transpose(chunked(operands.values, [keyHeads, shared, valueDim]), [0, 3, 4, 1, 2, 5]),
    strength: operands.strength && column(b, ofHeads(operands.strength)),
    decay: b.matmul(decay, upTo, { transB: true }),
    since: b.matmul(upTo, b.mul(column(b, decay), after)),
  };
}

/** Values of all chunks, along axis 3, that do not depend on states. */
interface StateParts {
  /** What is added to an empty state, [.., C, valueDim]. */
  readonly added: Value;
  /** What keys find in a state, which is not added again, [.., C, keyDim]; null without the delta rule. */
  readonly found: Value | null;
  /** What queries see of the chunk's additions, [.., C, C]. */
  readonly seen: Value;
  /** Queries to the state before the chunk, and keys of the state after it, [.., C, keyDim]. */
  readonly queries: Value;
  readonly keys: Value;
  /** What is left of the state after the chunk, [.., 1, 1]. */
  readonly left: Value;
}

function alongChunks(b: GraphBuilder, parts: StateParts, count: number): Value {
  const outputs: Value[] = [];
  let state: Value | null = null;
  for (let chunk = 0; chunk < count; chunk++) {
    const of = (x: Value): Value => b.slice(x, 3, { start: chunk, end: chunk + 1 });
    const added = addedTo(b, state, { added: of(parts.added), found: parts.found && of(parts.found) });
    const within = b.matmul(of(parts.seen), added);
    outputs.push(state === null ? within : b.add(b.matmul(of(parts.queries), state), within));
    if (chunk + 1 === count) break;
    const fresh = b.matmul(of(parts.keys), added, { transA: true });
    state = state === null ? fresh : b.add(b.mul(state, of(parts.left)), fresh);
  }
  return b.concat(outputs, 3, count);
}

/** What a chunk adds to a state; null for an empty one. */
function addedTo(
  b: GraphBuilder,
  state: Value | null,
  { added, found }: Pick<StateParts, "added" | "found">,
): Value {
  return state === null || found === null ? added : b.sub(added, b.matmul(found, state));
}

/**
 * The inverse of I + L, where L is the part of x [.., n, n] below the diagonal. Inverses of blocks on the diagonal are
 * joined to ones of twice the size, so that no power of L is formed: these grow without bound where keys are alike.
 */
function unitLowerInverse(b: GraphBuilder, x: Value, size: number): Value {
  const below = (block: number): Value =>
    b.mul(
      x,
      matrixOf(b, size, (t, s) => {
        const [rows, columns] = [Math.floor(t / block), Math.floor(s / block)];
        return rows % 2 === 1 && columns === rows - 1 ? 1 : 0;
      }),
    );
  let inverse = b.sub(
    matrixOf(b, size, (t, s) => (t === s ? 1 : 0)),
    below(1),
  );
  for (let block = 2; block < size; block *= 2) {
    inverse = b.sub(inverse, b.matmul(inverse, b.matmul(below(block), inverse)));
  }
  return inverse;
}

/** A constant matrix [size, size]. */
function matrixOf(b: GraphBuilder, size: number, at: (row: number, column: number) => number): Value {
  const data = Float32Array.from({ length: size * size }, (_, i) => at(Math.floor(i / size), i % size));
  return b.constant([size, size], { type: "float32", data });
}
