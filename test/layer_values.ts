/** Intermediate values of a decoder layer. */
import { buildLayer } from "../src/graph/decoder/decoder.ts";
import type { LoadedLayer } from "../src/graph/decoder/decoder_runner.ts";
import { layerStructure } from "../src/graph/decoder/layer_structure.ts";
import { PositionFeeds } from "../src/graph/decoder/position_feeds.ts";
import { structureFor } from "../src/graph/decoder/programs.ts";
import type { Graph } from "../src/graph/ir/graph.ts";
import { GraphBuilder } from "../src/graph/ir/graph_builder.ts";
import type { Runtime } from "../src/graph/runtime/runtime.ts";
import type { Model } from "../src/model/model.ts";
import { OUTPUT_PROJECTION } from "../src/model/spaces.ts";
import type { SpaceKind } from "../src/model/weights.ts";
import type { Tensor } from "../src/tensor/tensor.ts";

/** Input and output of a half's output projection, and the residual stream after it, one row for each token. */
export interface HalfValues {
  readonly inputs: readonly (readonly number[])[];
  readonly projected: readonly (readonly number[])[];
  readonly stream: readonly (readonly number[])[];
}

/** Values of both halves of a layer. @param hidden - input of the layer, [B, T, C] */
export async function layerValues(
  runtime: Runtime,
  { spec }: Model,
  { layer, hidden }: { readonly layer: LoadedLayer; readonly hidden: Tensor },
): Promise<Readonly<Record<SpaceKind, HalfValues>>> {
  const tokens = hidden.shape[1]!;
  const structure = structureFor("cached", layerStructure(spec, layer.index), { tokens, window: null });
  const program = await runtime.program(`values ${JSON.stringify(structure)}`, (): Graph => {
    const b = new GraphBuilder();
    const { halves, projected } = buildLayer(b, structure);
    for (const [kind, { tap, stream }] of halves) {
      b.output(`${kind}.inputs`, tap);
      b.output(`${kind}.projected`, projected.get(OUTPUT_PROJECTION[kind])!);
      b.output(`${kind}.stream`, stream);
    }
    return b.finish();
  });
  const span = { tokens, offset: 0, sequence: tokens, places: undefined };
  const positions = new PositionFeeds(runtime).of(layer.spec, span, structure);
  const outputs = await program.run({ ...layer.weights, ...positions, hidden });
  const rows = (name: string): readonly (readonly number[])[] => {
    const { shape, data } = outputs[name]!;
    const size = shape.at(-1)!;
    return Array.from({ length: data.length / size }, (_, t) => [...data.subarray(t * size, (t + 1) * size)]);
  };
  const half = (kind: SpaceKind): HalfValues => {
    return {
      inputs: rows(`${kind}.inputs`),
      projected: rows(`${kind}.projected`),
      stream: rows(`${kind}.stream`),
    };
  };
  return { kv: half("kv"), ffn: half("ffn") };
}
