import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { maxDifference } from "../../test/numbers.ts";
import { randomTensor, tinyModel } from "../../test/tiny_model.ts";
import { TINY_VARIANTS } from "../../test/tiny_variants.ts";
import { type LayerStructure, layerStructure } from "./decoder.ts";
import { DecoderRunner } from "./decoder_runner.ts";
import { causalMask, rotaryTables, spanPositions } from "./positions.ts";
import { LAYER_PROGRAMS, type LayerProgram, structureFor } from "./programs.ts";
import { type Feeds, Runtime } from "./runtime.ts";

let runtime: Runtime;
beforeAll(() => {
  runtime = new Runtime({ threads: 1 });
});
afterAll(() => runtime.close());

/** Two blocks of queries, of different sizes. */
const TOKENS = 257;

describe.each(Object.entries(TINY_VARIANTS))("attention in blocks of queries, %s", (name, options) => {
  test.each<LayerProgram>(["forward", "backward", "train"])(
    "%s gives what it gives at once",
    async (program) => {
      const model = tinyModel(options);
      const runner = new DecoderRunner(model, runtime);
      for (const index of model.spec.layers.keys()) {
        const layer = await runner.loadLayer(index);
        const { neurons, kvGroups, groupSize, rope, window } = layer.spec;
        const inputs = {
          hidden: randomTensor([2, TOKENS, 8], { name: "hidden" }),
          upstream: randomTensor([2, TOKENS, 8], { name: "upstream" }),
          "kv.center": randomTensor([kvGroups * groupSize * model.spec.headDim], { name: "kv" }),
          "ffn.center": randomTensor([neurons], { name: "ffn" }),
        };
        const span = { tokens: TOKENS, offset: 0 };
        const whole = layerStructure(model.spec, layer.spec);
        const run = async (structure: LayerStructure): Promise<Feeds> => {
          const graph = LAYER_PROGRAMS[program](structure);
          const compiled = await runtime.program(
            `${name} ${JSON.stringify([program, structure])}`,
            () => graph,
          );
          const mask = causalMask(span.tokens, structure.span === undefined ? groupSize : 1, window);
          const feeds: Feeds = {
            ...layer.weights,
            ...(rope === null ? {} : rotaryTables(rope, spanPositions(span), span.offset + span.tokens)),
            mask,
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
    },
  );
});

test("short sequences, forests and caches have graphs for any length", () => {
  const { spec } = tinyModel({});
  const structure = layerStructure(spec, spec.layers[0]!);
  expect(structureFor("forward", structure, { tokens: 256, window: null })).toBe(structure);
  expect(structureFor("cached", structure, { tokens: 512, window: null })).toBe(structure);
  expect(structureFor("forest", structure, { tokens: 512, window: null })).toBe(structure);
});
