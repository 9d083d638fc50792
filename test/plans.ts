/**
 * Random model shapes and plans for laws (fast-check arbitraries), and the tensors of a model for comparisons.
 */
import fc from "fast-check";
import { alibiSlopes } from "../src/model/alibi.ts";
import type { Model } from "../src/model/model.ts";
import { PROJECTION_MODULE, PROJECTIONS } from "../src/model/projections.ts";
import { spacesOf } from "../src/model/spaces.ts";
import { type LayerSpec, type ModelSpec, queryHeads } from "../src/model/spec.ts";
import { weightsOf } from "../src/model/weights.ts";
import { makePlan, type PruningPlan } from "../src/prune/plan.ts";
import type { Tensor } from "../src/tensor/tensor.ts";
import {
  type TinyModelOptions,
  tinyBlocks,
  tinyConvolution,
  tinyDelta,
  tinyMamba,
  tinyMamba2,
} from "./tiny_model.ts";

const neurons = fc.integer({ min: 1, max: 12 });
const attending: fc.Arbitrary<Partial<LayerSpec>> = fc
  .record({
    neurons,
    kvGroups: fc.integer({ min: 1, max: 4 }),
    groupSize: fc.integer({ min: 1, max: 3 }),
    biases: fc.subarray([...PROJECTIONS]),
  })
  .chain((layer) =>
    fc.constantFrom<Partial<LayerSpec>>(
      layer,
      { ...layer, rope: null, slopes: alibiSlopes(queryHeads({ ...layer })) },
      { ...layer, beside: tinyMamba2({ norm: "none" }) },
    ),
  );
const routing: fc.Arbitrary<Partial<LayerSpec>> = fc
  .tuple(attending, fc.integer({ min: 2, max: 4 }), fc.integer({ min: 1, max: 4 }), fc.boolean())
  .map(([layer, count, size, normalised]) => {
    const experts = { count, active: Math.min(count, size), normalised };
    const biases = layer.biases!.filter((projection) => PROJECTION_MODULE[projection] === "self_attn");
    return { ...layer, biases, neurons: count * size, experts };
  });
const convolving: fc.Arbitrary<Partial<LayerSpec>> = fc
  .record({ length: fc.integer({ min: 2, max: 4 }), biases: fc.boolean() })
  .chain((convolution) => neurons.map((count) => tinyConvolution(convolution, count)));
const linear = fc.record({ length: fc.integer({ min: 2, max: 4 }), keyHeads: fc.constantFrom(1, 2, 4) });
const remembering: fc.Arbitrary<Partial<LayerSpec>> = fc
  .tuple(linear, fc.boolean(), neurons)
  .map(([sizes, corrects, count]) => (corrects ? tinyDelta(sizes, count) : tinyMamba(sizes, count)));

/** One block alone. */
const single: fc.Arbitrary<Partial<LayerSpec>> = fc
  .tuple(neurons, fc.constantFrom(0, 1, 2))
  .map(([count, block]) => tinyBlocks({ neurons: count })[block]!);

/** Options of tiny models of one to four layers, with different widths, groups and biases in every layer. */
export const tinyOptions: fc.Arbitrary<TinyModelOptions> = fc.record({
  headDim: fc.constantFrom(2, 4),
  hiddenSize: fc.constantFrom(4, 6),
  qkNorm: fc.constantFrom(null, "head", "rotated_head", "unweighted", "each_head", "projection"),
  norms: fc.constantFrom("before", "around", "shared"),
  normParameters: fc.constantFrom("none", "weight", "weight_and_bias"),
  gated: fc.boolean(),
  gatedAttention: fc.constantFrom<ModelSpec["gatedAttention"]>(false, "q_proj", "gate_proj", "head_gates"),
  headBias: fc.boolean(),
  tiedEmbeddings: fc.boolean(),
  seed: fc.nat(1000),
  // Always one with attention, and in any place.
  layers: fc
    .tuple(
      fc.array(fc.oneof(attending, attending, convolving, remembering, routing, single), { maxLength: 3 }),
      attending,
      fc.nat(3),
    )
    .map(([others, layer, place]) => others.toSpliced(place, 0, layer)),
});

/** What `tinyOptions` draws and a Llama has. */
export const LLAMA_SWITCHES: TinyModelOptions = {
  qkNorm: null,
  norms: "before",
  normParameters: "weight",
  gated: true,
  gatedAttention: false,
  headBias: false,
};

/**
 * Valid plans for a model: each space is absent or keeps a random non-empty subset, with as many units of each part.
 */
export function plansFor(spec: ModelSpec): fc.Arbitrary<PruningPlan> {
  const keeps = spacesOf(spec).map(({ id, units, parts }) => {
    const size = units / parts;
    const ofParts = fc.integer({ min: 1, max: size }).chain((count) => {
      const lists = Array.from({ length: parts }, (_, part) => {
        const all = Array.from({ length: size }, (_, unit) => part * size + unit);
        return fc.subarray(all, { minLength: count, maxLength: count });
      });
      return fc.tuple(...lists).map((kept) => kept.flat());
    });
    return fc
      .option(ofParts, { nil: undefined })
      .map((kept) => (kept === undefined ? [] : [[id, kept] as const]));
  });
  return fc.tuple(...keeps).map((entries) => makePlan(spec, Object.fromEntries(entries.flat())));
}

/** Every tensor of a model by name. */
export async function tensorsOf({ spec, weights }: Model): Promise<ReadonlyMap<string, Tensor>> {
  const names = new Set([...weights.names, ...weightsOf(spec).map(({ name }) => name)]);
  return new Map(
    await Promise.all([...names].map(async (name) => [name, await weights.read(name)] as const)),
  );
}
