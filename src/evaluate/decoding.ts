/** Decoding token by token with a key/value cache, several sequences at once. All weights stay in memory meanwhile. */
import type { DecoderRunner, LoadedHead, LoadedLayer } from "../graph/decoder_runner.ts";
import { elementCount, type Tensor } from "../tensor/tensor.ts";

/** A model with all its weights in memory. */
export interface LoadedDecoder {
  readonly runner: DecoderRunner;
  readonly layers: readonly LoadedLayer[];
  readonly head: LoadedHead;
}

/** Reads all weights of a model. */
export async function loadDecoder(runner: DecoderRunner): Promise<LoadedDecoder> {
  const layers = await Promise.all(runner.model.spec.layers.map((_, index) => runner.loadLayer(index)));
  return { runner, layers, head: await runner.loadHead() };
}

/** Tokens that one pass takes at most; scores and masks of a longer piece would not fit into memory. */
const PASS_TOKENS = 2048;
/** Tokens of a pass where there are more. */
const PIECE_TOKENS = 256;

/** Sequences of equal length that grow together. */
export class Decoding {
  readonly #decoder: LoadedDecoder;
  /** By layer. */
  readonly #caches: readonly { readonly keys: Cache; readonly values: Cache }[];
  readonly #batch: number;
  #length = 0;

  /** `batch` empty sequences. */
  constructor(decoder: LoadedDecoder, batch: number) {
    this.#decoder = decoder;
    this.#batch = batch;
    const { headDim } = decoder.runner.model.spec;
    this.#caches = decoder.layers.map(({ spec: { kvGroups } }) => {
      const token = [batch, kvGroups, headDim];
      return { keys: new Cache(token), values: new Cache(token) };
    });
  }

  /**
   * Appends the same number of tokens to every sequence.
   * @param ids - [B, T], row by row
   * @returns logits of the tokens that come next, [B, V]
   */
  async append(ids: Int32Array): Promise<Tensor> {
    const { runner, head } = this.#decoder;
    const tokens = ids.length / this.#batch;
    let start = 0;
    if (tokens > PASS_TOKENS) {
      for (; start + PIECE_TOKENS < tokens; start += PIECE_TOKENS) {
        await this.#pass(this.#columns(ids, start, start + PIECE_TOKENS));
        // The event loop stands still during a run; let timers and signals in between two of them.
        await new Promise(setImmediate);
      }
    }
    const hidden = await this.#pass(this.#columns(ids, start, tokens));
    return (await runner.runHead("logits", head, { hidden: lastRows(hidden) })).logits!;
  }

  /** Tokens `start` to `end` (exclusive) of every sequence, [B, end - start]. */
  #columns(ids: Int32Array, start: number, end: number): Int32Array {
    const tokens = ids.length / this.#batch;
    const part = new Int32Array(this.#batch * (end - start));
    for (let b = 0; b < this.#batch; b++) {
      part.set(ids.subarray(b * tokens + start, b * tokens + end), b * (end - start));
    }
    return part;
  }

  /** Takes tokens through all layers. @returns the stream after the last one, [B, T, C] */
  async #pass(ids: Int32Array): Promise<Tensor> {
    const { runner, layers } = this.#decoder;
    const tokens = ids.length / this.#batch;
    let hidden = await runner.embed(ids, [this.#batch, tokens]);
    for (const [index, layer] of layers.entries()) {
      const { keys, values } = this.#caches[index]!;
      const feeds = { past_keys: keys.past, past_values: values.past };
      const outputs = await runner.runLayer("cached", layer, { hidden, offset: this.#length, feeds });
      keys.append(outputs.keys!);
      values.append(outputs.values!);
      hidden = outputs.hidden!;
    }
    this.#length += tokens;
    return hidden;
  }
}

/** The last token of every sequence, [B, C]. */
function lastRows({ shape, data }: Tensor): Tensor {
  const [batch, tokens, size] = shape as readonly [number, number, number];
  const rows = new Float32Array(batch * size);
  for (let b = 0; b < batch; b++) {
    const end = (b + 1) * tokens * size;
    rows.set(data.subarray(end - size, end), b * size);
  }
  return { shape: [batch, size], data: rows };
}

/**
 * Keys or values of one layer, token by token in one array that grows. New arrays for every token would keep the garbage
 * collector busy, which marks on a core that has to compute.
 */
class Cache {
  /** Of a token. */
  readonly #shape: readonly number[];
  #place = new Float32Array(0);
  #tokens = 0;

  constructor(shape: readonly number[]) {
    this.#shape = shape;
  }

  /** All tokens so far, [P, B, K, H]; a view that the next ones do not change. */
  get past(): Tensor {
    const shape = [this.#tokens, ...this.#shape];
    return { shape, data: this.#place.subarray(0, elementCount(shape)) };
  }

  append({ shape, data }: Tensor): void {
    const used = this.past.data;
    const size = used.length + data.length;
    if (size > this.#place.length) {
      this.#place = new Float32Array(Math.max(size, 2 * this.#place.length));
      this.#place.set(used);
    }
    this.#place.set(data, used.length);
    this.#tokens += shape[0]!;
  }
}
