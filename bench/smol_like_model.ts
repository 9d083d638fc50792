/** A random model of SmolLM2-135M's width, for benchmarks without a checkpoint. */
import type { Model } from "../src/model/model.ts";
import { memorySource } from "../src/tensor/memory.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import { tinyModel } from "../test/tiny_model.ts";

/** Factor that makes the tiny model's weights about as small as trained ones. */
const SCALE = 0.05;

/** @param size - number of layers and vocabulary; everything else is as in SmolLM2-135M */
export async function smolLikeModel(size: {
  readonly layers: number;
  readonly vocabSize: number;
}): Promise<Model> {
  const rope = { theta: 100_000, rotaryDim: 64, scaling: null };
  const layer = { neurons: 1536, kvGroups: 3, groupSize: 3, rope };
  const layers = Array.from({ length: size.layers }, () => layer);
  const large = tinyModel({ hiddenSize: 576, headDim: 64, vocabSize: size.vocabSize, layers });
  const tensors = new Map<string, Tensor>();
  for (const name of large.weights.names) {
    const { shape, data } = await large.weights.read(name);
    tensors.set(name, { shape, data: name.includes("norm") ? data : data.map((value) => SCALE * value) });
  }
  return { ...large, weights: memorySource(tensors) };
}
