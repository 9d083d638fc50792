/** Random inputs for the backward programs of a layer. */
import { layerSizes } from "../src/graph/decoder/layer_structure.ts";
import type { Feeds } from "../src/graph/runtime/runtime.ts";
import type { LayerSpec, ModelSpec } from "../src/model/spec.ts";
import type { SpaceKind } from "../src/model/weights.ts";
import { randomTensor } from "./tiny_model.ts";

/** Number of changes of each output projection, and their rank. */
const [CHANGES, RANK] = [2, 21];

/** Inputs of `backward`, `train` and `slopes`, besides the layer's input and kept activations. */
export function wayBackFeeds(
  { hiddenSize, headDim }: ModelSpec,
  layer: LayerSpec,
  { batch, tokens }: { readonly batch: number; readonly tokens: number },
): Feeds {
  const { N, F } = layerSizes(layer);
  const ofSpace = (kind: SpaceKind, channels: number): Feeds => ({
    [`${kind}.centre`]: randomTensor([channels], { name: kind }),
    [`${kind}.changeInputs`]: randomTensor([CHANGES, RANK, channels], { name: `${kind} inputs` }),
    [`${kind}.changeOutputs`]: randomTensor([CHANGES, hiddenSize, RANK], { name: `${kind} outputs` }),
    [`${kind}.changeCentres`]: randomTensor([CHANGES, 1, RANK], { name: `${kind} centres` }),
  });
  return {
    upstream: randomTensor([batch, tokens, hiddenSize], { name: "upstream" }),
    "ffn.gateWeight": randomTensor([hiddenSize, F], { name: "gate weight" }),
    ...ofSpace("kv", N * headDim),
    ...ofSpace("ffn", F),
  };
}
