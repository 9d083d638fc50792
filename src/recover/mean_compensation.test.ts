import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { plansFor, tensorsOf, tinyOptions } from "../../test/plans.ts";
import { tinyModel } from "../../test/tiny_model.ts";
import { randomActivations, statsOfActivations } from "../../test/tiny_stats.ts";
import { spacesOf } from "../model/spaces.ts";
import { takesBias } from "../model/spec.ts";
import { projectionName } from "../model/weight_names.ts";
import { weightsOf } from "../model/weights.ts";
import { keepAll, makePlan } from "../prune/plan.ts";
import { applyPlan } from "../prune/surgery.ts";
import { compensateMeans } from "./mean_compensation.ts";

const cases = tinyOptions
  .map(tinyModel)
  .chain((model) => plansFor(model.spec).map((plan) => ({ model, plan })));

describe("compensateMeans", () => {
  test("keeps the mean output of every output projection that can have a bias", async () => {
    await fc.assert(
      fc.asyncProperty(cases, async ({ model, plan }) => {
        const activations = randomActivations(model.spec);
        const recovered = await compensateMeans(model, plan, statsOfActivations(activations));
        for (const space of spacesOf(model.spec)) {
          const inputs = activations
            .get(space.id)!
            .flat()
            .map((row) => [...row]);
          const kept = plan.keep[space.id];
          const keptInputs = inputs.map((row) =>
            row.filter((_, j) => kept === undefined || kept.includes(Math.floor(j / space.unitChannels))),
          );
          const projection = space.kind === "ffn" ? "down_proj" : "o_proj";
          if (!takesBias(model.spec.layers[space.layer]!, projection)) continue;
          const name = projectionName(space.layer, projection);
          const dense = await meanOutput(model, name, inputs);
          const pruned = await meanOutput(recovered, name, keptInputs);
          for (const [i, value] of dense.entries()) expect(pruned[i]).toBeCloseTo(value, 5);
        }
      }),
      { numRuns: 30 },
    );
  });

  test("changes nothing but biases of output projections, and has every tensor of its spec", async () => {
    await fc.assert(
      fc.asyncProperty(cases, async ({ model, plan }) => {
        const stats = statsOfActivations(randomActivations(model.spec));
        const recovered = await compensateMeans(model, plan, stats);
        for (const { name, shape } of weightsOf(recovered.spec)) {
          expect((await recovered.weights.read(name)).shape).toEqual(shape);
        }
        const pruned = await tensorsOf(applyPlan(model, plan));
        for (const [name, tensor] of await tensorsOf(recovered)) {
          if (!/(o|down)_proj\.bias$/.test(name)) expect(tensor).toEqual(pruned.get(name));
        }
      }),
      { numRuns: 20 },
    );
  });

  test("adds no bias where nothing is removed", async () => {
    const model = tinyModel();
    const stats = statsOfActivations(randomActivations(model.spec));
    const whole = await compensateMeans(model, keepAll(model.spec), stats);
    expect(whole.spec).toEqual(model.spec);
    const some = await compensateMeans(model, makePlan(model.spec, { "layers.1.kv": [0] }), stats);
    expect(some.spec.layers.map(({ biases }) => biases)).toEqual([[], ["o_proj"]]);
  });

  test("adds none to experts", async () => {
    const model = tinyModel({ layers: [{ experts: { count: 2, active: 1, normalised: true } }] });
    const stats = statsOfActivations(randomActivations(model.spec));
    const plan = makePlan(model.spec, { "layers.0.ffn": [0, 3], "layers.0.kv": [1] });
    const { spec, weights } = await compensateMeans(model, plan, stats);
    expect(spec.layers.map(({ biases }) => biases)).toEqual([["o_proj"]]);
    expect(weights.info(projectionName(0, "down_proj", "bias"))).toBeUndefined();
  });

  test("names a bias that overflows", async () => {
    const model = tinyModel();
    const stats = statsOfActivations(randomActivations(model.spec));
    const ffn = stats.spaces.get("layers.0.ffn")!;
    const spaces = new Map([
      ...stats.spaces,
      ["layers.0.ffn", { ...ffn, sum: ffn.sum.fill(Number.NaN) }] as const,
    ]);
    const plan = makePlan(model.spec, { "layers.0.ffn": [0] });
    await expect(compensateMeans(model, plan, { ...stats, spaces })).rejects.toMatchObject({
      code: "NOT_FINITE",
      message: expect.stringContaining("model.layers.0.mlp.down_proj.bias"),
    });
  });
});

/** Mean over tokens of W x + b. */
async function meanOutput(
  { spec, weights }: ReturnType<typeof tinyModel>,
  name: string,
  inputs: readonly (readonly number[])[],
): Promise<number[]> {
  const { shape, data } = await weights.read(name);
  const biasName = name.replace(/weight$/, "bias");
  const hasBias = weightsOf(spec).some((weight) => weight.name === biasName);
  const bias = hasBias ? (await weights.read(biasName)).data : new Float32Array(shape[0]!);
  return Array.from(bias, (b, i) => {
    const outputs = inputs.map((row) => row.reduce((sum, x, j) => sum + data[i * shape[1]! + j]! * x, b));
    return outputs.reduce((sum, y) => sum + y, 0) / outputs.length;
  });
}
