/**
 * Gain of attention in blocks of queries on the CPU: one layer at once and in blocks, in forward passes with and
 * without statistics, and in backward passes to its gates.
 *
 *   node --import tsx bench/layer.ts [--threads 2] [--rounds 8]
 *
 * Shapes are SmolLM2-135M's. Both alternate; the fastest round of each counts, in milliseconds.
 */
import { parseOptions, positiveInteger } from "../scripts/clients/options.ts";
import { layerSizes, layerStructure } from "../src/graph/decoder/layer_structure.ts";
import { LAYER_PROGRAMS, type LayerProgram, structureFor } from "../src/graph/decoder/programs.ts";
import type { Graph } from "../src/graph/ir/graph.ts";
import { shapeOf } from "../src/graph/ir/product_sizes.ts";
import { type Feeds, type Program, Runtime } from "../src/graph/runtime/runtime.ts";
import { elementCount } from "../src/tensor/tensor.ts";
import { relativeDifference } from "../test/numbers.ts";
import { randomTensor, tinyModel } from "../test/tiny_model.ts";

const { values } = parseOptions({
  options: { threads: { type: "string", default: "2" }, rounds: { type: "string", default: "8" } },
});
const runtime = new Runtime({ threads: positiveInteger("threads", values.threads) });
const rounds = positiveInteger("rounds", values.rounds);
const LAYER = { neurons: 1536, kvGroups: 3, groupSize: 3 };
const { spec } = tinyModel({ hiddenSize: 576, headDim: 64, layers: [LAYER], vocabSize: 2 });
const PROGRAMS = ["forward", "statistics", "keeping", "backward", "backwardKept"] as const;
const STRUCTURE = layerStructure(spec, 0);

for (const [batch, tokens] of [
  [2, 512],
  [1, 1024],
  [1, 2048],
] as const) {
  for (const program of PROGRAMS) await compare(program, batch, tokens);
}
await runtime.close();

async function compare(program: LayerProgram, batch: number, tokens: number): Promise<void> {
  const structures = [STRUCTURE, structureFor(program, STRUCTURE, { tokens, window: null })];
  const runs = await Promise.all(
    structures.map(async (structure) => {
      const graph = LAYER_PROGRAMS[program](structure);
      const compiled = await runtime.program(JSON.stringify([program, structure]), () => graph);
      return { compiled, feeds: feedsOf(graph, { B: batch, T: tokens }) };
    }),
  );
  const best = runs.map(() => Number.POSITIVE_INFINITY);
  for (let round = 0; round < rounds; round++) {
    for (const [index, run] of runs.entries()) best[index] = Math.min(best[index]!, await time(run));
  }
  const [whole, blocks] = await Promise.all(runs.map(({ compiled, feeds }) => compiled.run(feeds)));
  const apart = relativeDifference(blocks!.hidden!.data, whole!.hidden!.data).toExponential(1);
  const [a, b] = best.map((milliseconds) => milliseconds.toFixed(0));
  console.log(`${program} of ${batch} x ${tokens}: at once ${a}, in blocks ${b}, apart ${apart}`);
}

async function time({ compiled, feeds }: { compiled: Program; feeds: Feeds }): Promise<number> {
  const start = performance.now();
  await compiled.run(feeds);
  return performance.now() - start;
}

/** Random values for every input except masks, which are causal. */
function feedsOf({ inputs }: Graph, span: { readonly B: number; readonly T: number }): Feeds {
  const sizes = { ...span, ...layerSizes(spec.layers[0]!), gT: LAYER.groupSize * span.T };
  return Object.fromEntries(
    inputs.map((input) => {
      const { name } = input;
      const sized = shapeOf(input, sizes);
      if (name !== "mask") return [name, randomTensor(sized, { name })];
      const keys = sized.at(-1)!;
      const queries = Math.min(sized.at(-2)!, span.T);
      const visible = (at: number): boolean =>
        (at % keys) - (keys - queries) <= Math.floor(at / keys) % queries;
      return [
        name,
        {
          shape: sized,
          data: Float32Array.from({ length: elementCount(sized) }, (_, at) => (visible(at) ? 0 : -1e30)),
        },
      ];
    }),
  );
}
