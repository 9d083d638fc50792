import { afterAll, describe, expect, it } from "vitest";
import { Runtime } from "../graph/runtime.ts";
import { randomStream } from "../tensor/random.ts";
import { centred, lambdaOf, Moments, ofSomeInputs, regress } from "./regression.ts";

const runtime = new Runtime({ threads: 1 });
afterAll(() => runtime.close());

const [TOKENS, INPUTS] = [2048, 24];

/**
 * Moments of random inputs, the first of which lies around `constant`, and of the sum of the others as residual; sums rounded to
 * float32, as programs give them.
 */
function momentsAround(constant: number): Moments {
  const random = randomStream(1, "inputs");
  const sums = { gram: INPUTS * INPUTS, cross: INPUTS, inputSum: INPUTS, residualSum: 1 };
  const { gram, cross, inputSum, residualSum } = Object.fromEntries(
    Object.entries(sums).map(([name, size]) => [name, new Float32Array(size)]),
  ) as Record<keyof typeof sums, Float32Array>;
  for (let token = 0; token < TOKENS; token++) {
    const x = Array.from({ length: INPUTS }, (_, j) => random() - 0.5 + (j === 0 ? constant : 0));
    const residual = x.slice(1).reduce((sum, value) => sum + value, 0);
    for (const [i, a] of x.entries()) {
      for (const [j, b] of x.entries()) gram[i * INPUTS + j]! += a * b;
      cross[i]! += residual * a;
      inputSum[i]! += a;
    }
    residualSum[0]! += residual;
  }
  const moments = new Moments(INPUTS, 1);
  const tensors = { gram, cross, inputSum, residualSum };
  const outputs = Object.fromEntries(
    Object.entries(tensors).map(([name, data]) => [name, { shape: [data.length], data }]),
  );
  moments.add(outputs, 1 / TOKENS);
  return moments;
}

describe("regress", () => {
  it.each([0, 100, 1e4, 1e5])("finds a map whatever one input lies around, %d", async (constant) => {
    const { weight, bias } = await regress(runtime, centred(momentsAround(constant)), {
      ridge: 0.01,
      name: "w",
    });
    for (const value of weight.slice(1)) expect(value).toBeGreaterThan(0.9);
    expect(Math.abs(bias[0]! + weight[0]! * constant)).toBeLessThan(0.5);
  });

  it("pulls no less where some inputs hardly vary", () => {
    const others = Int32Array.from({ length: INPUTS - 1 }, (_, j) => j + 1);
    const alone = lambdaOf(ofSomeInputs(centred(momentsAround(1e5)), others), 0.1);
    expect(lambdaOf(centred(momentsAround(1e5)), 0.1)).toBeCloseTo(alone, 12);
  });
});
