/** Random inputs for the backward programs of a layer. */
import { layerSizes, stateSize } from "../src/graph/decoder/layer_structure.ts";
import type { Feeds } from "../src/graph/runtime/runtime.ts";
import { type ModelSpec, valueDimOf } from "../src/model/spec.ts";
import type { SpaceKind } from "../src/model/weights.ts";
import { randomTensor } from "./tiny_model.ts";

/** Number of changes of each output projection, and their rank. */
const [CHANGES, RANK] = [2, 21];

/** Token ids of a batch, as layers with inputs of their own need them. */
export function someIds(batch: number, tokens: number): Int32Array {
  return Int32Array.from({ length: batch * tokens }, (_, place) => place % 7);
}

/** Inputs of `backward`, `train` and `slopes` of layer `index`, besides the layer's input and kept activations. */
export function wayBackFeeds(
  spec: ModelSpec,
  index: number,
  { batch, tokens }: { readonly batch: number; readonly tokens: number },
): Feeds {
  const { hiddenSize } = spec;
  const layer = spec.layers[index]!;
  const { N, F } = layerSizes(layer);
  const ofSpace = (kind: SpaceKind, channels: number, parts: number): Feeds => {
    const random = (name: string, shape: readonly number[]): Feeds => ({
      [`${kind}.${name}`]: randomTensor(shape, { name: `${kind} ${name}` }),
    });
    return {
      ...random("centre", [channels]),
      ...random("changeInputs", [CHANGES, parts, RANK, channels / parts]),
      ...random("changeOutputs", [CHANGES, parts, hiddenSize, RANK]),
      ...random("changeCentres", [CHANGES, parts, 1, RANK]),
    };
  };
  return {
    upstream: randomTensor([batch, tokens, stateSize(spec, index + 1)], { name: "upstream" }),
    "ffn.gateWeight": randomTensor([hiddenSize, F], { name: "gate weight" }),
    ...ofSpace("kv", N * valueDimOf(spec, layer), 1),
    ...ofSpace("ffn", F, layer.experts?.count ?? 1),
  };
}
