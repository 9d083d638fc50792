import { afterAll, describe, expect, test } from "vitest";
import { maxDifference } from "../../test/numbers.ts";
import { gramStrips, MomentSums, momentFeeds, type SpaceMoments } from "../calibrate/moments.ts";
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
  const strips = gramStrips(n).map(({ rows, columns }, strip) => {
    const data = Float32Array.from({ length: rows * columns }, (_, index) => {
      const row = columns - rows + Math.floor(index / columns);
      return products[row * n + (index % columns)]!;
    });
    return [`ffn.products${strip}`, { shape: [rows, columns], data }] as const;
  });
  const sums = new MomentSums("ffn", n);
  const mean = { shape: [1, 1, n], data: weighted };
  sums.add({ ...Object.fromEntries(strips), "ffn.weighted": mean }, 1 / TOKENS);
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
      projection,
      kept,
      removed: Int32Array.of(),
    });
    expect([...none.cross, ...none.residualMean]).toEqual(new Array(8).fill(0));
  });
});

describe("momentFeeds", () => {
  test.each([
    [4000, Array(8).fill(500), [500, 1000, 1500, 2000, 2500, 3000, 3500, 4000]],
    [10, [1, 1, 1, 1, 3, 2, 3, 2], [1, 1, 1, 1, 3, 5, 8, 10]],
    [4, Array(8).fill(1), [1, 1, 1, 1, 1, 2, 3, 4]],
    [2, Array(8).fill(1), [1, 1, 1, 1, 1, 1, 2, 2]],
    [1, Array(8).fill(1), Array(8).fill(1)],
  ])("cuts the triangle of %d channels into strips, none of them empty", (channels, rows, columns) => {
    const lengths = (name: string): readonly number[] =>
      Array.from({ length: 8 }, (_, strip) => momentFeeds("kv", channels)[`kv.${name}${strip}`]!.shape[0]!);
    expect([lengths("rows"), lengths("columns")]).toEqual([rows, columns]);
  });
});

describe("regress", () => {
  test("names the tensor for which means are not finite", async () => {
    const covariances = await covariancesAround(1);
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const act = regress(
        runtime,
        { ...covariances, residualMean: Float64Array.of(bad) },
        { ridge: 0.01, name: "w" },
      );
      await expect(act).rejects.toMatchObject({
        code: "NOT_FINITE",
        message: `w: expected finite numbers, got ${bad}`,
      });
    }
  });

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
