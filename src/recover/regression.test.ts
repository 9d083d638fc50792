import { afterAll, describe, expect, test } from "vitest";
import { maxDifference } from "../../test/numbers.ts";
import { gramParts, MomentSums, momentFeeds, type SpaceMoments } from "../calibrate/moments.ts";
import { compileProducts } from "../graph/runtime/double_products.ts";
import { Runtime } from "../graph/runtime/runtime.ts";
import { randomStream } from "../tensor/random.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type Covariances, covariancesOf, lambdaOf, ofSomeInputs, regress } from "./regression.ts";

const runtime = new Runtime({ threads: 1 });
afterAll(() => runtime.close());

const [TOKENS, INPUTS] = [2048, 24];
/** All inputs; the last one is removed from the dense map, and is the sum of the others but the first. */
const ALL = Int32Array.from({ length: INPUTS + 1 }, (_, j) => j);
const KEPT = ALL.subarray(0, INPUTS);

/**
 * Moments of random inputs, the first of which lies around `constant`. Sums are rounded to float32, as those of
 * compiled programs.
 */
function momentsAround(constant: number): SpaceMoments {
  const random = randomStream(1, "inputs");
  const n = ALL.length;
  const { first } = gramParts(n);
  const products = new Float32Array(n * n);
  const weighted = new Float32Array(n);
  for (let token = 0; token < TOKENS; token++) {
    const x = Array.from(KEPT, (j) => random() - 0.5 + (j === 0 ? constant : 0));
    x.push(x.slice(1).reduce((sum, value) => sum + value, 0));
    for (const [i, a] of x.entries()) {
      for (const [j, b] of x.entries()) products[i * n + j]! += a * b;
      weighted[i]! += a;
    }
  }
  const part = (rows: Int32Array, columns: Int32Array): Tensor => {
    const data = Float32Array.from(
      [...rows].flatMap((i) => Array.from(columns, (j) => products[i * n + j]!)),
    );
    return { shape: [rows.length, columns.length], data };
  };
  const [before, behind] = [ALL.subarray(0, first), ALL.subarray(first)];
  const sums = new MomentSums("ffn", n);
  sums.add(
    {
      "ffn.firstFirst": part(before, before),
      "ffn.restFirst": part(behind, before),
      "ffn.restRest": part(behind, behind),
      "ffn.weighted": { shape: [1, 1, n], data: weighted },
    },
    1 / TOKENS,
  );
  return sums.finish();
}

/** The last input is removed. */
async function covariancesAround(constant: number): Promise<Covariances> {
  const weight = { shape: [1, ALL.length], data: new Float32Array(ALL.length).fill(1) };
  return covariancesOf(await compileProducts(runtime), momentsAround(constant), {
    projection: { weight, bias: { shape: [1], data: new Float32Array(1) } },
    kept: KEPT,
    removed: ALL.subarray(INPUTS),
  });
}

describe("covariancesOf", () => {
  test("knows what any channels lose by the dense map", async () => {
    const moments = momentsAround(2);
    const [kept, removed] = [Int32Array.of(1, 4, 5), Int32Array.of(0, 4, 24)];
    const data = Float32Array.from({ length: 2 * ALL.length }, (_, i) => Math.sin(i));
    const projection = {
      weight: { shape: [2, ALL.length], data },
      bias: { shape: [2], data: new Float32Array(2) },
    };
    const found = await covariancesOf(await compileProducts(runtime), moments, { projection, kept, removed });
    const triangle = (moments.covariance as Tensor).data;
    const between = (i: number, j: number): number => {
      const [row, column] = [Math.max(i, j), Math.min(i, j)];
      return triangle[(row * (row + 1)) / 2 + column]!;
    };
    const weight = (row: number, j: number): number => data[row * ALL.length + j]!;
    const cross = [0, 1].flatMap((row) =>
      Array.from(kept, (k) => removed.reduce((sum, j) => sum + weight(row, j) * between(j, k), 0)),
    );
    expect(maxDifference(found.cross, cross)).toBeLessThan(1e-12);
    expect([...found.inputs]).toEqual([...kept].flatMap((i) => Array.from(kept, (j) => between(i, j))));
    expect(found.residualMean[1]).toBeCloseTo(
      removed.reduce((sum, j) => sum + weight(1, j) * moments.mean[j]!, 0),
      12,
    );
    const none = await covariancesOf(await compileProducts(runtime), moments, {
      ...{ projection, kept },
      removed: Int32Array.of(),
    });
    expect([...none.cross, ...none.residualMean]).toEqual(new Array(8).fill(0));
  });

  test.each([
    [5, 3, 2],
    [4, 2, 2],
    [2, 1, 1],
    [1, 1, 1],
  ])("tells the program how many of %d channels each of the two parts has", (channels, first, rest) => {
    const feeds = momentFeeds("kv", channels);
    expect([feeds["kv.first"]!.shape, feeds["kv.rest"]!.shape]).toEqual([[first], [rest]]);
  });
});

describe("regress", () => {
  test.each([0, 100, 1e4, 1e5])("finds a map whatever one input lies around, %d", async (constant) => {
    const { weight, bias } = await regress(runtime, await covariancesAround(constant), {
      ridge: 0.01,
      name: "w",
    });
    for (const value of weight.slice(1)) expect(value).toBeGreaterThan(0.9);
    expect(Math.abs(bias[0]! + weight[0]! * constant)).toBeLessThan(0.5);
  });

  test("pulls no less where some inputs hardly vary", async () => {
    const others = Int32Array.from({ length: INPUTS - 1 }, (_, j) => j + 1);
    const alone = lambdaOf(ofSomeInputs(await covariancesAround(1e5), others), 0.1);
    expect(lambdaOf(await covariancesAround(1e5), 0.1)).toBeCloseTo(alone, 12);
  });
});
