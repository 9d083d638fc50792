import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { someIds, wayBackFeeds } from "../../../test/layer_feeds.ts";
import { maxDifference } from "../../../test/numbers.ts";
import { randomTensor, tinyModel } from "../../../test/tiny_model.ts";
import { TINY_VARIANTS } from "../../../test/tiny_variants.ts";
import { mixerOf } from "../../model/mixer_layers.ts";
import { isLinear } from "../../model/mixer_spec.ts";
import type { Model } from "../../model/model.ts";
import { layerWeightsOf, projectionsOf } from "../../model/weights.ts";
import { readNamed } from "../../tensor/tensor.ts";
import { type Feeds, Runtime } from "../runtime/runtime.ts";
import { DecoderRunner } from "./decoder_runner.ts";
import { alikeLayers, type LayerStructure, layerStructure, stateSize } from "./layer_structure.ts";
import { PositionFeeds } from "./position_feeds.ts";
import { LAYER_PROGRAMS, type LayerProgram, structureFor } from "./programs.ts";

let runtime: Runtime;
beforeAll(() => {
  runtime = new Runtime({ threads: 1 });
});
afterAll(() => runtime.close());

/** The weights of a layer as they are stored, of experts those of all together. */
async function layerWeights({ spec, weights }: Model, index: number): Promise<Feeds> {
  const names = layerWeightsOf(spec, index).map(({ name }) => name);
  const prefix = `model.layers.${index}.`;
  return readNamed(weights, Object.fromEntries(names.map((name) => [name.slice(prefix.length), name])));
}

/** Two blocks of queries, of different sizes. */
const TOKENS = 257;

describe.each(Object.entries(TINY_VARIANTS))("attention in blocks of queries, %s", (name, options) => {
  // decoder_runner.test.ts compares the way forward with the naive decoder.
  test.each<LayerProgram>(["backward", "train"])("%s gives what it gives at once", async (program) => {
    const model = tinyModel(options);
    const runner = new DecoderRunner(model, runtime);
    for (const { index } of alikeLayers(model.spec)) {
      const layer = await runner.loadLayer(index);
      const { window } = layer.spec;
      // Without a length, a delta rule is one operator, which has no derivative.
      if (isLinear(mixerOf(layer.spec))) continue;
      const joined = await layerWeights(model, index);
      const inputs = {
        hidden: randomTensor([2, TOKENS, stateSize(model.spec, index)], { name: "hidden" }),
        own_input: randomTensor([2, TOKENS, model.spec.perLayerInputs?.size ?? 0], { name: "own" }),
        ...wayBackFeeds(model.spec, index, { batch: 2, tokens: TOKENS }),
      };
      const span = { tokens: TOKENS, offset: 0, sequence: TOKENS, places: undefined };
      const whole = layerStructure(model.spec, layer.index);
      const run = async (structure: LayerStructure): Promise<Feeds> => {
        const graph = LAYER_PROGRAMS[program](structure);
        const compiled = await runtime.program(
          `${name} ${JSON.stringify([program, structure])}`,
          () => graph,
        );
        const feeds: Feeds = {
          ...joined,
          ...layer.weights,
          ...new PositionFeeds(runtime).of(layer.spec, span, structure),
          ...inputs,
        };
        return compiled.run(
          Object.fromEntries(graph.inputs.map((input) => [input.name, feeds[input.name]!])),
        );
      };
      const blocks = structureFor(program, whole, { tokens: TOKENS, window });
      expect(blocks.span?.tokens).toBe(TOKENS);
      const [expected, got] = [await run(whole), await run(blocks)];
      expect(Object.keys(got)).toEqual(Object.keys(expected));
      for (const [output, { data }] of Object.entries(expected)) {
        const scale = Math.max(...data.map(Math.abs), 1);
        expect(maxDifference(got[output]!.data, data) / scale, `${output} of layer ${index}`).toBeLessThan(
          1e-5,
        );
      }
    }
  });
});

describe.each(Object.entries(TINY_VARIANTS))("what the way forward keeps, %s", (_, options) => {
  const model = tinyModel(options);

  test.each([
    [7, ["backward", "slopes"]],
    [TOKENS, ["train"]],
  ] as const)(
    "gives the way back the bits that it has without, through %i tokens",
    async (tokens, programs) => {
      const runner = new DecoderRunner(model, runtime);
      for (const { index } of alikeLayers(model.spec)) {
        const layer = await runner.loadLayer(index);
        const feeds = wayBackFeeds(model.spec, index, { batch: 2, tokens });
        const ids = someIds(2, tokens);
        const hidden = randomTensor([2, tokens, stateSize(model.spec, index)], { name: "hidden" });
        const forward = await runner.runLayer("forward", layer, { hidden, ids });
        const { hidden: output, ...kept } = await runner.runLayer("keeping", layer, { hidden, ids });
        expect(output).toEqual(forward.hidden);
        for (const program of programs) {
          const expected = await runner.runLayer(program, layer, { hidden, ids, feeds });
          const got = await runner.runLayer(`${program}Kept`, layer, {
            hidden,
            ids,
            feeds: { ...feeds, ...kept },
          });
          expect(got, `${program} of layer ${index}`).toEqual(expected);
        }
      }
    },
  );

  test("leaves it no product of the way forward but scores and what they mix", () => {
    const index = model.spec.layers.findIndex(({ mixer }) => !mixer);
    const structure = structureFor("backward", layerStructure(model.spec, index), {
      ...{ tokens: 7, window: null, sparse: false },
    });
    const products = (program: LayerProgram): number =>
      LAYER_PROGRAMS[program](structure).nodes.filter(({ op }) => op.endsWith("MatMul")).length;
    const { gated, norms, parallel, perLayerInputs, latent, gatedAttention, updates } = model.spec;
    const present = projectionsOf(model.spec, model.spec.layers[index]);
    const read = present.filter((name) => !["o_proj", "down_proj"].includes(name));
    // And those that make latents, and gates by a matrix of their own; the weighted values; both products with the
    // layer's own input; o_proj, whose result is in the stream, unless nothing reads that; down_proj where a norm
    // reads its result; those of an expert of all tokens, but of the last one where neither gate nor norm reads its
    // result; both projections of Mamba 2; and those that make streams, with both of the learned residual.
    const readStreams = parallel || structure.lacksFfn ? [] : ["stream"];
    const ofOwn = perLayerInputs === null ? 0 : 2;
    const { shared: width, sharedUngated = false, ownNorms = false } = structure.experts ?? {};
    const shared = width === undefined ? 0 : sharedUngated && !ownNorms ? 2 : 3;
    const latents = latent === undefined ? 0 : latent.queryRank === null ? 1 : 2;
    const beside = structure.beside === undefined ? 0 : 2;
    const gates = gatedAttention && gatedAttention !== "q_proj" ? 1 : 0;
    const normed = Number(["around", "after"].includes(norms));
    const streams = updates === undefined ? 0 : updates.streams + 1;
    const outputs = readStreams.length + ofOwn + shared + latents + beside + gates + normed + streams;
    expect(products("backward") - products("backwardKept")).toBe(read.length + 1 + outputs);
    const kept = [...LAYER_PROGRAMS.keeping(structure).outputs.keys()];
    expect(kept).toEqual(
      expect.arrayContaining([...read, "tap", ...readStreams].map((name) => `kept.${name}`)),
    );
    expect(kept.includes("kept.gate_proj")).toBe(gated);
  });
});

test("blocks in parallel that share a norm compute it once", () => {
  const roots = (norms: "before" | "shared"): number => {
    const { spec } = tinyModel({ parallel: true, norms });
    const structure = layerStructure(spec, 0);
    return LAYER_PROGRAMS.forward(structure).nodes.filter(({ op }) => op === "Sqrt").length;
  };
  expect([roots("before"), roots("shared")]).toEqual([2, 1]);
});

test("short sequences, forests and caches have graphs for any length", () => {
  const { spec } = tinyModel({});
  const structure = layerStructure(spec, 0);
  expect(structureFor("forward", structure, { tokens: 256, window: null })).toBe(structure);
  expect(structureFor("cached", structure, { tokens: 512, window: null })).toBe(structure);
  expect(structureFor("forest", structure, { tokens: 512, window: null })).toBe(structure);
});
