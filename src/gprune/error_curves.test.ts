import { afterAll, describe, expect, test } from "vitest";
import { layerValues } from "../../test/layer_values.ts";
import { randomWindows } from "../../test/random_windows.ts";
import { TINY_FAMILIES } from "../../test/tiny_families.ts";
import { type TinyModelOptions, tinyMamba2, tinyModel } from "../../test/tiny_model.ts";
import { GEMMA_SWITCHES, MULTIPLIERS } from "../../test/tiny_variants.ts";
import { silent } from "../base/progress.ts";
import { calibrate } from "../calibrate/calibrate.ts";
import { poolStats } from "../calibrate/stats.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { embedWindows, forwardLayers } from "../graph/decoder/forward.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { EXPERT_NORMS } from "../model/expert_weights.ts";
import type { Model } from "../model/model.ts";
import { PROJECTIONS } from "../model/projections.ts";
import { spacesOf } from "../model/spaces.ts";
import { makePlan } from "../prune/plan.ts";
import { compensateMeans } from "../recover/mean_compensation.ts";
import { withTensors } from "../recover/with_tensors.ts";
import { scoreModel } from "../score/importance.ts";
import { metricByName } from "../score/registry.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { analyseUnits } from "./analysis.ts";
import { errorCurves } from "./error_curves.ts";

const runtime = new Runtime({ threads: 1 });
afterAll(() => runtime.close());

const model = tinyModel({ layers: [{}, { neurons: 9, kvGroups: 3 }] });
/** A model with biases in the output projections, and norms between them and the stream. */
const gemma = tinyModel({
  layers: [{ biases: PROJECTIONS }, { neurons: 9, kvGroups: 3, biases: PROJECTIONS }],
  ...GEMMA_SWITCHES,
});
/** A model whose outputs are scaled by 0.4 before they join the stream. */
const granite = tinyModel({ layers: [{}, { neurons: 9, kvGroups: 3 }], residualScale: 0.4 });
/** A model whose blocks have a factor each, with Mamba 2 beside attention. */
const falcon = tinyModel({
  layers: [{ beside: tinyMamba2() }, { neurons: 9, kvGroups: 3, beside: tinyMamba2({ norm: "none" }) }],
  multipliers: MULTIPLIERS,
});
const EMBEDDING = "model.embed_tokens.weight";
const sets = [
  { name: "a", windows: randomWindows([10, 10]) },
  { name: "b", windows: randomWindows([10], { seed: 1 }) },
];
const weights = new Map([
  ["a", 1],
  ["b", 3],
]);

/** The model with a token whose embedding is 0; at the start of a window its hidden states stay 0 in all layers. */
async function withZeroWord(): Promise<Model> {
  const { data, shape } = await model.weights.read(EMBEDDING);
  const rows = { shape, data: data.map((value, i) => (i < model.spec.hiddenSize ? 0 : value)) };
  return withTensors(model, new Map([[EMBEDDING, rows]]));
}

/** Each token's weight is its set's share by its tokens. */
const tokenWeights = [...Array<number>(20).fill(1 / 4 / 20), ...Array<number>(10).fill(3 / 4 / 10)];

async function analysesOf(model: Model): Promise<ReturnType<typeof analyseUnits>> {
  const importance = await scoreModel({ model, metric: metricByName("magnitude"), seed: 0 });
  const split = { whole: importance, halves: [importance, importance] as const };
  return analyseUnits({
    spaces: spacesOf(model.spec),
    sets: new Map(sets.map(({ name }) => [name, split])),
    pooled: importance,
    fallback: importance,
    seed: 0,
    maxModules: 2,
  });
}

describe("errorCurves", () => {
  test.each([
    ["Llama", model],
    ["norms after blocks", gemma],
    ["scaled blocks", granite],
    ["blocks with a factor each", falcon],
  ])(
    "add up to the relative error of a block whose removed units are replaced by their means, %s",
    async (_, model) => {
      const found = await analysesOf(model);
      const runner = new DecoderRunner(model, runtime);
      const curves = await errorCurves({
        model,
        runtime,
        sets,
        weights,
        analyses: found,
        onProgress: silent,
      });
      const stats = poolStats([...(await calibrate(runner, sets)).values()], [1, 3]);
      for (const { space, orders } of found) {
        for (const { units: order } of orders) {
          for (const count of [1, Math.min(4, order.length)].filter((k) => k < space.units)) {
            const gone = new Set(order.slice(0, count));
            const kept = Array.from({ length: space.units }, (_, u) => u).filter((u) => !gone.has(u));
            const pruned = await compensateMeans(model, makePlan(model.spec, { [space.id]: kept }), stats);
            const measured = await relativeError([runner, new DecoderRunner(pruned, runtime)], space);
            const expected = order
              .slice(0, count)
              .reduce((sum, unit) => sum + curves.get(space.id)![unit]!, 0);
            expect(Math.abs(expected / measured - 1)).toBeLessThan(1e-3);
          }
        }
      }
    },
  );

  const { layers: withExperts = [], ...gemma4 } = TINY_FAMILIES["gemma4 with experts"];
  test.each<[string, TinyModelOptions, readonly string[]]>([
    ["a block", { layers: [{}, {}], ...GEMMA_SWITCHES }, ["self_attn.o_proj", "mlp.down_proj"]],
    ["experts", { ...gemma4, layers: withExperts }, ["mlp.down_proj", "mlp.shared_expert.down_proj"]],
    ["experts and others", { ...gemma4, layers: withExperts }, [EXPERT_NORMS.output, EXPERT_NORMS.beside]],
  ])("do not depend on the scale of what a norm comes after: %s", async (_, options, parts) => {
    const model = tinyModel({ ...options, normEps: 1e-12 });
    const names = parts.map((name) => `model.layers.1.${name}.weight`);
    const larger = new Map<string, Tensor>();
    for (const name of names) {
      const { shape, data } = await model.weights.read(name);
      larger.set(name, { shape, data: data.map((value) => 10 * value) });
    }
    const request = { runtime, sets, weights, analyses: await analysesOf(model), onProgress: silent };
    const scaled = await errorCurves({ ...request, model: withTensors(model, larger) });
    for (const [id, curve] of await errorCurves({ ...request, model })) {
      for (const [unit, value] of curve.entries()) {
        expect(Math.abs(scaled.get(id)![unit]! / value - 1), `${id} ${unit}`).toBeLessThan(1e-3);
      }
    }
  });

  test("do not count tokens whose hidden states are zero", async () => {
    const zero = await withZeroWord();
    const padded = randomWindows([10]).map((ids) =>
      Int32Array.from(ids, (id, i) => (i < 5 ? 0 : Math.max(1, id))),
    );
    const found = await analysesOf(model);
    const curvesOf = (windows: readonly Int32Array[]): ReturnType<typeof errorCurves> =>
      errorCurves({
        model: zero,
        runtime,
        sets: [{ name: "a", windows }],
        weights,
        analyses: found,
        onProgress: silent,
      });
    for (const [id, curve] of await curvesOf(padded)) {
      expect(curve.every(Number.isFinite), id).toBe(true);
      expect(
        curve.some((value) => value > 0),
        id,
      ).toBe(true);
    }
    // A set of tokens with hidden states 0 only.
    for (const [, curve] of await curvesOf([new Int32Array(10)]))
      expect([...curve]).toEqual([...curve].fill(0));
  });
});

/**
 * Mean squared error of the block's output times the mean inverse square of the dense stream; where a norm follows the
 * block, the error is taken after it.
 */
async function relativeError(
  [runner, pruned]: readonly [DecoderRunner, DecoderRunner],
  { layer, kind }: { readonly layer: number; readonly kind: "kv" | "ffn" },
): Promise<number> {
  const batches = await embedWindows(
    runner,
    sets.flatMap(({ windows }) => windows),
  );
  const before: Tensor[] = [];
  const after: Tensor[] = [];
  await forwardLayers(runner, batches, {
    stage: "test",
    onProgress: silent,
    onOutputs: ({ index }, batch, outputs) => {
      if (index !== layer) return;
      before.push(batches[batch]!.hidden);
      after.push(outputs.hidden!);
    },
  });
  const [dense, changed] = [await runner.loadLayer(layer), await pruned.loadLayer(layer)];
  let error = 0;
  let inverse = 0;
  let output = 0;
  let token = 0;
  for (const [batch, hidden] of before.entries()) {
    // Only one space is pruned, so the stream before it is unchanged.
    const wanted = (await layerValues(runtime, runner.model, { layer: dense, hidden }))[
      kind
    ].projected.flat();
    const got = (await layerValues(runtime, pruned.model, { layer: changed, hidden }))[kind].projected.flat();
    const square = (start: number, value: (i: number) => number): number =>
      Array.from({ length: 8 }, (_, c) => value(start + c) ** 2).reduce((sum, term) => sum + term, 0);
    for (let start = 0; start < wanted.length; start += 8) {
      const weight = tokenWeights[token++]!;
      error += weight * square(start, (i) => wanted[i]! - got[i]!);
      output += weight * square(start, (i) => wanted[i]!);
      inverse += weight / square(start, (i) => after[batch]!.data[i]!);
    }
  }
  const { norms, normEps, residualScale, multipliers } = runner.model.spec;
  const factor = multipliers?.[kind === "kv" ? "attentionOutput" : "ffnOutput"] ?? 1;
  const relative = error * inverse * (residualScale * factor) ** 2;
  if (norms === "before") return relative;
  const name = kind === "kv" ? "post_attention_layernorm" : "post_feedforward_layernorm";
  const norm = (dense.weights[`${name}.weight`] as Tensor).data.map((weight) => (1 + weight) ** 2);
  const gain = norm.reduce((sum, value) => sum + value, 0) / (output + 8 * normEps);
  return relative * gain;
}
