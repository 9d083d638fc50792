/** Decoding token by token with a key/value cache, several sequences at once. All weights stay in memory meanwhile. */
import type { DecoderRunner, LoadedHead, LoadedLayer } from "../graph/decoder_runner.ts";
import type { Tensor } from "../tensor/tensor.ts";

interface Cache {
  keys: Tensor;
  values: Tensor;
}

/** Sequences of equal length that grow together. */
export class Decoding {
  readonly #runner: DecoderRunner;
  readonly #layers: readonly LoadedLayer[];
  readonly #head: LoadedHead;
  readonly #caches: readonly Cache[];
  readonly #batch: number;
  #length = 0;

  private constructor(
    runner: DecoderRunner,
    { layers, head }: { readonly layers: readonly LoadedLayer[]; readonly head: LoadedHead },
    batch: number,
  ) {
    this.#runner = runner;
    this.#layers = layers;
    this.#head = head;
    this.#batch = batch;
    const { headDim } = runner.model.spec;
    this.#caches = layers.map(({ spec }) => emptyCache([batch, spec.kvGroups, 0, headDim]));
  }

  /** Loads the model for `batch` empty sequences. */
  static async open(runner: DecoderRunner, batch: number): Promise<Decoding> {
    const layers = await Promise.all(runner.model.spec.layers.map((_, index) => runner.loadLayer(index)));
    return new Decoding(runner, { layers, head: await runner.loadHead() }, batch);
  }

  /**
   * Appends the same number of tokens to every sequence.
   * @param ids - [B, T], row by row
   * @returns logits of the tokens that come next, [B, V]
   */
  async append(ids: Int32Array): Promise<Tensor> {
    const tokens = ids.length / this.#batch;
    let hidden = await this.#runner.embed(ids, [this.#batch, tokens]);
    for (const [index, layer] of this.#layers.entries()) {
      const cache = this.#caches[index]!;
      const feeds = { past_keys: cache.keys, past_values: cache.values };
      const outputs = await this.#runner.runLayer("cached", layer, { hidden, offset: this.#length, feeds });
      cache.keys = outputs.keys!;
      cache.values = outputs.values!;
      hidden = outputs.hidden!;
    }
    this.#length += tokens;
    const last = lastRows(hidden);
    return (await this.#runner.runHead("logits", this.#head, { hidden: last })).logits!;
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

function emptyCache(shape: readonly number[]): Cache {
  const empty = { shape, data: new Float32Array(0) };
  return { keys: empty, values: empty };
}
