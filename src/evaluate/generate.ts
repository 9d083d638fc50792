/** Greedy text generation with a key/value cache. All weights stay in memory while it runs. */
import { GpruneError } from "../errors.ts";
import type { DecoderRunner, LoadedLayer } from "../graph/decoder_runner.ts";
import type { Tensor } from "../tensor/tensor.ts";

export interface GenerateOptions {
  readonly maxTokens: number;
  /** Generation ends before any of these. */
  readonly stopIds: readonly number[];
  /** Called with every new token. */
  readonly onToken?: (id: number) => void;
}

/**
 * Continues a prompt with the most probable token each time; ties go to the lowest id.
 * @param prompt - token ids, at least one
 * @returns the new ids
 */
export async function generate(
  runner: DecoderRunner,
  prompt: Int32Array,
  { maxTokens, stopIds, onToken }: GenerateOptions,
): Promise<Int32Array> {
  if (prompt.length === 0) throw new GpruneError("BAD_TEXT", "prompt: expected at least one token, got none");
  const { spec } = runner.model;
  const layers = await Promise.all(spec.layers.map((_, index) => runner.loadLayer(index)));
  const caches = layers.map(({ spec: layer }) => emptyCache(layer.kvGroups, spec.headDim));
  const head = await runner.loadHead();
  const generated: number[] = [];
  let ids = prompt;
  let offset = 0;
  while (generated.length < maxTokens) {
    const last = await step(runner, { layers, caches, ids, offset });
    offset += ids.length;
    const next = argmax((await runner.runHead("logits", head, { hidden: last })).logits!.data);
    if (stopIds.includes(next)) break;
    generated.push(next);
    onToken?.(next);
    ids = Int32Array.of(next);
  }
  return Int32Array.from(generated);
}

interface Cache {
  keys: Tensor;
  values: Tensor;
}

/** Sends tokens through all layers, extends the caches, and returns the last position's hidden state, [1, C]. */
async function step(
  runner: DecoderRunner,
  {
    layers,
    caches,
    ids,
    offset,
  }: {
    readonly layers: readonly LoadedLayer[];
    readonly caches: readonly Cache[];
    readonly ids: Int32Array;
    readonly offset: number;
  },
): Promise<Tensor> {
  let hidden = await runner.embed(ids, [1, ids.length]);
  for (const [index, layer] of layers.entries()) {
    const cache = caches[index]!;
    const feeds = { past_keys: cache.keys, past_values: cache.values };
    const outputs = await runner.runLayer("cached", layer, { hidden, offset, feeds });
    cache.keys = outputs.keys!;
    cache.values = outputs.values!;
    hidden = outputs.hidden!;
  }
  const size = hidden.shape[2]!;
  return { shape: [1, size], data: hidden.data.slice(-size) };
}

function emptyCache(kvGroups: number, headDim: number): Cache {
  const empty = { shape: [1, kvGroups, 0, headDim], data: new Float32Array(0) };
  return { keys: empty, values: empty };
}

function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}
