/**
 * Two ways to compute one layer on the CPU, in forward passes with and without statistics, and in backward passes to
 * its gates: attention at once and in blocks of queries (SmolLM2-135M's shapes), and all experts for all tokens and
 * only for their own (shapes of granite-3.1-1b-a400m, 32 experts of 512 neurons, and of Qwen3-30B-A3B, 128 of 768, 8 a
 * token each, forward alone), these also for one token with a past of 256.
 *
 *   node --import tsx bench/layer.ts [--threads 2] [--rounds 8]
 *
 * Both alternate; the fastest round of each counts, in milliseconds.
 */
import { parseOptions, positiveInteger } from "../scripts/clients/options.ts";
import { weightsByExpert } from "../src/graph/decoder/experts.ts";
import { type LayerStructure, layerSizes, layerStructure } from "../src/graph/decoder/layer_structure.ts";
import { LAYER_PROGRAMS, type LayerProgram, structureFor } from "../src/graph/decoder/programs.ts";
import type { Graph } from "../src/graph/ir/graph.ts";
import { shapeOf } from "../src/graph/ir/product_sizes.ts";
import { type Feeds, type Program, Runtime } from "../src/graph/runtime/runtime.ts";
import type { ModelSpec } from "../src/model/spec.ts";
import { stackedInLayer } from "../src/model/stacked_experts.ts";
import { elementCount } from "../src/tensor/tensor.ts";
import { relativeDifference } from "../test/numbers.ts";
import { randomTensor, tinySpec } from "../test/tiny_model.ts";

const { values } = parseOptions({
  options: { threads: { type: "string", default: "2" }, rounds: { type: "string", default: "8" } },
});
const runtime = new Runtime({ threads: positiveInteger("threads", values.threads) });
const rounds = positiveInteger("rounds", values.rounds);
/** Tokens of the past in decoding. */
const PAST = 256;
const PROGRAMS = ["forward", "statistics", "keeping", "backward", "backwardKept"] as const;
const SMOLLM2 = { neurons: 1536, kvGroups: 3, groupSize: 3 };
const GRANITE = {
  ...{ neurons: 32 * 512, kvGroups: 8, groupSize: 2 },
  experts: { count: 32, active: 8, normalised: true },
};

const QWEN3 = {
  ...{ neurons: 128 * 768, kvGroups: 4, groupSize: 8 },
  experts: { count: 128, active: 8, normalised: true },
};

/** A layer, and the two structures of its graph. */
interface Comparison {
  readonly spec: ModelSpec;
  readonly ways: readonly [string, string];
  /** Matrices of experts, by their names in either graph. */
  readonly experts: Feeds;
  structures(program: LayerProgram, tokens: number): readonly [LayerStructure, LayerStructure];
}

const ATTENTION: Comparison = {
  spec: tinySpec({ hiddenSize: 576, headDim: 64, layers: [SMOLLM2], vocabSize: 2 }),
  ways: ["at once", "in blocks"],
  experts: {},
  structures(program, tokens) {
    const whole = layerStructure(this.spec, 0);
    return [whole, structureFor(program, whole, { tokens, window: null })];
  },
};

function expertsOf(spec: ModelSpec): Comparison {
  return {
    spec,
    ways: ["all experts", "each its own tokens"],
    experts: matricesOf(spec),
    structures(program, tokens) {
      const of = (sparse: boolean): LayerStructure =>
        structureFor(program, layerStructure(spec, 0), { tokens, window: null, sparse });
      return [of(false), of(true)];
    },
  };
}

for (const [batch, tokens] of [
  [2, 512],
  [1, 1024],
  [1, 2048],
] as const) {
  for (const program of PROGRAMS) await compare(ATTENTION, program, { batch, tokens });
}
const granite = tinySpec({ hiddenSize: 1024, headDim: 64, layers: [GRANITE], vocabSize: 2 });
const qwen3 = tinySpec({ hiddenSize: 2048, headDim: 128, layers: [QWEN3], vocabSize: 2 });
await compareExperts("granite", granite, ["forward", "statistics", "backward"]);
// The way back of all experts would hold several GB.
await compareExperts("qwen3", qwen3, ["forward"]);
await runtime.close();

async function compareExperts(
  name: string,
  spec: ModelSpec,
  programs: readonly LayerProgram[],
): Promise<void> {
  console.log(`experts of ${name}`);
  const comparison = expertsOf(spec);
  await compare(comparison, "cached", { batch: 1, tokens: 1 });
  for (const program of programs) await compare(comparison, program, { batch: 2, tokens: 512 });
}

async function compare(
  comparison: Comparison,
  program: LayerProgram,
  { batch, tokens }: { readonly batch: number; readonly tokens: number },
): Promise<void> {
  const { ways } = comparison;
  const runs = await Promise.all(
    comparison.structures(program, tokens).map(async (structure) => {
      const graph = LAYER_PROGRAMS[program](structure);
      const compiled = await runtime.program(JSON.stringify([program, structure]), () => graph);
      return { compiled, feeds: feedsOf(graph, comparison, { B: batch, T: tokens }) };
    }),
  );
  const best = runs.map(() => Number.POSITIVE_INFINITY);
  for (let round = 0; round < rounds; round++) {
    for (const [index, run] of runs.entries()) best[index] = Math.min(best[index]!, await time(run));
  }
  const [first, second] = await Promise.all(runs.map(({ compiled, feeds }) => compiled.run(feeds)));
  const apart = relativeDifference(second!.hidden!.data, first!.hidden!.data).toExponential(1);
  const times = best.map((milliseconds, way) => `${ways[way]} ${milliseconds.toFixed(0)}`);
  console.log(`${program} of ${batch} x ${tokens}: ${times.join(", ")}, apart ${apart}`);
}

async function time({ compiled, feeds }: { compiled: Program; feeds: Feeds }): Promise<number> {
  const start = performance.now();
  await compiled.run(feeds);
  return performance.now() - start;
}

/** Random matrices of all experts of a layer together, and of each. */
function matricesOf({ layers: [layer], hiddenSize }: ModelSpec): Feeds {
  const matrices = Object.fromEntries(
    Array.from(stackedInLayer(layer!), ([name, { inRow }]) => {
      const shape = [hiddenSize, layer!.neurons];
      return [name, randomTensor(inRow ? shape : shape.toReversed(), { name })] as const;
    }),
  );
  return { ...matrices, ...weightsByExpert(layer!, matrices) };
}

/** Random values for every other input except masks, which are causal. */
function feedsOf(
  { inputs }: Graph,
  { spec, experts }: Comparison,
  span: { readonly B: number; readonly T: number },
): Feeds {
  const [layer] = spec.layers;
  const sizes = { ...span, ...layerSizes(layer!), gT: layer!.groupSize * span.T, P: PAST };
  return Object.fromEntries(
    inputs.map((input) => {
      const { name } = input;
      const known = experts[name];
      if (known !== undefined) return [name, known];
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
