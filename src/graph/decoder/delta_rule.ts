/**
 * The gated delta rule (arXiv 2412.06464). Every value head has a state S, keyDim x valueDim; token t fades it, corrects
 * what its key finds in it, and reads it with its query:
 *
 *   S = exp(decay_t) S;  S = S + k_t (strength_t (v_t - k_t^T S))^T;  o_t = keyDim^-1/2 q_t^T S
 *
 * Sequences of known length go in chunks (section 3.3 there), by operators that have derivatives; all else by ONNX
 * Runtime's operator, token by token.
 */
import { type DeltaSpec, deltaChannels } from "../../model/spec.ts";
import type { GraphBuilder, Value } from "../ir/graph.ts";
import { gatherRows, linearAttention } from "../ir/operators.ts";
import type { Dim } from "../ir/shapes.ts";
import { INVISIBLE } from "./positions.ts";

/** Operands of the rule, float32. */
export interface DeltaOperands {
  /** Of length 1, [B, T, keyHeads, keyDim]. */
  readonly queries: Value;
  readonly keys: Value;
  /** [B, T, valueHeads, valueDim] */
  readonly values: Value;
  /** Logarithms of what is left of the state, at most 0, [B, T, valueHeads]. */
  readonly decay: Value;
  /** Parts of errors that are corrected, 0 to 1, [B, T, valueHeads]. */
  readonly strength: Value;
}

/** How tokens follow one another. */
export interface DeltaOrder {
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

/** What the rule gives. */
export interface DeltaResult {
  /** [B, T, valueHeads, valueDim] */
  readonly output: Value;
  /** States after the present tokens; null where they are not wanted. */
  readonly state: Value | null;
}

/** Tokens of a chunk. With half as many, gradients take a little longer, and with twice as many, everything does. */
export const CHUNK_TOKENS = 64;

/** Applies the rule to all tokens. */
export function deltaRule(
  b: GraphBuilder,
  operands: DeltaOperands,
  { delta, state, paths }: DeltaOrder & { readonly delta: DeltaSpec },
): DeltaResult {
  const tokens = operands.values.shape[1]!;
  if (paths !== undefined) return { output: inForests(b, operands, { delta, paths }), state: null };
  if (state !== undefined || typeof tokens !== "number") return byOperator(b, operands, { delta, state });
  return { output: inChunks(b, operands, delta), state: null };
}

function byOperator(
  b: GraphBuilder,
  operands: DeltaOperands,
  { delta, state }: { readonly delta: DeltaSpec; readonly state: Value | undefined },
): DeltaResult {
  const { keys, values } = deltaChannels(delta);
  const [batch, tokens] = operands.values.shape as readonly [Dim, Dim, Dim, Dim];
  const packed = (x: Value, channels: number): Value => b.reshape(x, [batch, tokens, channels]);
  const { output, present } = linearAttention(b, {
    queries: packed(operands.queries, keys),
    keys: packed(operands.keys, keys),
    values: packed(operands.values, values),
    past: state ?? emptyStates(b, operands.values, delta),
    decay: operands.decay,
    strength: operands.strength,
    queryHeads: delta.keyHeads,
    valueHeads: delta.valueHeads,
    scale: delta.keyDim ** -0.5,
  });
  return { output: b.reshape(output, operands.values.shape), state: present };
}

/** Zeros [B, valueHeads, keyDim, valueDim] for x [B, ..]. */
function emptyStates(b: GraphBuilder, x: Value, { valueHeads, keyDim, valueDim }: DeltaSpec): Value {
  const size = valueHeads * keyDim * valueDim;
  const zeros = b.constant([1, size], { type: "float32", data: new Float32Array(size) });
  return b.reshape(b.mul(b.onesAlong(x, 0), zeros), [x.shape[0]!, valueHeads, keyDim, valueDim]);
}

/** The sequences of forests, each from its beginning: shared tokens are computed once for each sequence. */
function inForests(
  b: GraphBuilder,
  operands: DeltaOperands,
  { delta, paths }: { readonly delta: DeltaSpec; readonly paths: ForestPaths },
): Value {
  const [batch, tokens, heads, size] = operands.values.shape as readonly [Dim, Dim, number, number];
  const [sequences, length] = paths.rows.shape as readonly [Dim, Dim];
  const inSequences = (x: Value): Value => {
    const channels = x.shape.slice(2).reduce<number>((product, dim) => product * Number(dim), 1);
    const rows = b.flatten(b.reshape(x, [batch, tokens, channels]));
    const gathered = gatherRows(b, b.pad(rows, 0, { before: 0, after: 1 }), paths.rows);
    return b.reshape(gathered, [sequences, length, ...x.shape.slice(2)]);
  };
  const { output } = byOperator(
    b,
    {
      queries: inSequences(operands.queries),
      keys: inSequences(operands.keys),
      values: inSequences(operands.values),
      decay: inSequences(operands.decay),
      strength: inSequences(operands.strength),
    },
    { delta, state: undefined },
  );
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
  readonly strength: Value;
  /** Sums of the decay from the chunk's beginning to each token, [B, keyHeads, r, n, C]. */
  readonly decay: Value;
}

/**
 * Within a chunk, the corrections of all tokens solve a triangular system; from chunk to chunk the states go on. Tokens
 * that are missing in the last chunk have neither keys nor strength.
 */
function inChunks(b: GraphBuilder, operands: DeltaOperands, delta: DeltaSpec): Value {
  const tokens = operands.values.shape[1] as number;
  const size = Math.min(CHUNK_TOKENS, tokens);
  const count = Math.ceil(tokens / size);
  const chunks = chunksOf(b, operands, { delta, size, count });
  const { queries, keys, strength, decay } = chunks;
  const column = (x: Value): Value => b.reshape(x, [...x.shape, 1]);
  const row = (x: Value): Value => b.reshape(x, [...x.shape.slice(0, -1), 1, size]);
  const future = matrixOf(b, size, (t, s) => (s > t ? INVISIBLE : 0));
  const between = b.exp(b.add(b.sub(column(decay), row(decay)), future));
  const similar = b.mul(b.mul(b.matmul(keys, keys, { transB: true }), between), strength);
  const solve = unitLowerInverse(b, similar, size);
  const fromStart = column(b.exp(decay));
  const scale = delta.keyDim ** -0.5;
  const last = b.slice(decay, 4, { start: size - 1, end: size });
  const states: StateParts = {
    corrections: b.matmul(solve, b.mul(chunks.values, strength)),
    found: b.matmul(solve, b.mul(keys, b.mul(strength, fromStart))),
    seen: b.mul(b.matmul(queries, keys, { transB: true, alpha: scale }), between),
    queries: b.mul(b.mul(queries, fromStart), b.scalar(scale)),
    keys: b.mul(keys, column(b.exp(b.sub(last, decay)))),
    left: column(b.exp(last)),
  };
  const output = alongChunks(b, states, count);
  const { valueHeads, valueDim } = delta;
  const inOrder = b.reshape(b.transpose(output, [0, 3, 4, 1, 2, 5]), [
    output.shape[0]!,
    count * size,
    valueHeads,
    valueDim,
  ]);
  return b.trim(inOrder, 1, { before: 0, after: count * size - tokens, size: tokens });
}

function chunksOf(
  b: GraphBuilder,
  operands: DeltaOperands,
  {
    delta: { keyHeads, valueHeads, keyDim, valueDim },
    size,
    count,
  }: { readonly delta: DeltaSpec; readonly size: number; readonly count: number },
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
  const upToEach = matrixOf(b, size, (t, s) => (t <= s ? 1 : 0));
  const strength = ofHeads(operands.strength);
  return {
    queries: ofKeys(operands.queries),
    keys: ofKeys(operands.keys),
    values: b.transpose(chunked(operands.values, [keyHeads, shared, valueDim]), [0, 3, 4, 1, 2, 5]),
    strength: b.reshape(strength, [...strength.shape, 1]),
    decay: b.matmul(ofHeads(operands.decay), upToEach),
  };
}

/** Values of all chunks, along axis 3, that do not depend on states. */
interface StateParts {
  /** Corrections from an empty state, [.., C, valueDim]. */
  readonly corrections: Value;
  /** What corrections take off of a state, [.., C, keyDim]. */
  readonly found: Value;
  /** What queries see of the chunk's corrections, [.., C, C]. */
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
    const fresh = of(parts.corrections);
    const corrections = state === null ? fresh : b.sub(fresh, b.matmul(of(parts.found), state));
    const within = b.matmul(of(parts.seen), corrections);
    outputs.push(state === null ? within : b.add(b.matmul(of(parts.queries), state), within));
    if (chunk + 1 === count) break;
    const added = b.matmul(of(parts.keys), corrections, { transA: true });
    state = state === null ? added : b.add(b.mul(state, of(parts.left)), added);
  }
  return b.concat(outputs, 3, count);
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
