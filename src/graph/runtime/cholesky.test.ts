import { afterAll, describe, expect, test } from "vitest";
import { randomTensor } from "../../../test/tiny_model.ts";
import { type SpdSystem, solveSpd } from "./cholesky.ts";
import { Runtime } from "./runtime.ts";

const runtime = new Runtime({ threads: 1 });
afterAll(() => runtime.close());

/** Random numbers in [-0.5, 0.5). */
function random(count: number, name: string): Float64Array {
  return Float64Array.from(randomTensor([count], { name }).data);
}

/** R R^T / k + shift I of a random R [n, k]. */
function spd(n: number, { k = 2 * n, shift = 0 }: { k?: number; shift?: number } = {}): Float64Array {
  const r = random(n * k, `spd ${n}`);
  return Float64Array.from({ length: n * n }, (_, at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    let sum = i === j ? shift : 0;
    for (let t = 0; t < k; t++) sum += (r[i * k + t]! * r[j * k + t]!) / k;
    return sum;
  });
}

/** X (A + ridge I) = B by Gaussian elimination with pivoting. */
function naiveSolve({ matrix, rows, ridge }: Omit<SpdSystem, "name">): Float64Array {
  const n = Math.sqrt(matrix.length);
  const m = rows.length / n;
  // Rows of [A | B^T]: A is symmetric.
  const a = Array.from({ length: n }, (_, i) => [
    ...Array.from({ length: n }, (_, j) => matrix[i * n + j]! + (i === j ? ridge : 0)),
    ...Array.from({ length: m }, (_, r) => rows[r * n + i]!),
  ]);
  for (let k = 0; k < n; k++) {
    const pivot = a
      .slice(k)
      .reduce((best, row, i) => (Math.abs(row[k]!) > Math.abs(a[best]![k]!) ? k + i : best), k);
    [a[k], a[pivot]] = [a[pivot]!, a[k]!];
    for (const [i, row] of a.entries()) {
      if (i === k) continue;
      const factor = row[k]! / a[k]![k]!;
      for (let j = k; j < row.length; j++) row[j]! -= factor * a[k]![j]!;
    }
  }
  return Float64Array.from({ length: m * n }, (_, at) => {
    const [r, i] = [Math.floor(at / n), at % n];
    return a[i]![n + r]! / a[i]![i]!;
  });
}

describe("solveSpd", () => {
  test.each([
    [1, 1, 4],
    [3, 0, 4],
    [4, 2, 4],
    [5, 3, 4],
    [8, 1, 4],
    [11, 7, 3],
    [40, 5, 16],
  ])("equals elimination: n %i, %i right-hand sides, blocks of %i", async (n, m, blockSize) => {
    const system = { matrix: spd(n), rows: random(m * n, "rows"), ridge: 0.25, name: "w" };
    const before = { matrix: system.matrix.slice(), rows: system.rows.slice() };
    const { rows, ridge } = await solveSpd(runtime, system, { blockSize });
    expect(ridge).toBe(0.25);
    for (const [i, value] of naiveSolve(system).entries()) expect(rows[i]).toBeCloseTo(value, 10);
    expect(system).toMatchObject(before);
  });

  test("has a small residual where the condition number is 1e8", async () => {
    const n = 300;
    const matrix = spd(n, { k: 20, shift: 1e-8 });
    const rows = random(2 * n, "rows");
    const { rows: x } = await solveSpd(runtime, { matrix, rows, ridge: 0, name: "w" });
    for (const r of [0, 1]) {
      for (let i = 0; i < n; i++) {
        let sum = 0;
        for (let k = 0; k < n; k++) sum += x[r * n + k]! * matrix[k * n + i]!;
        expect(Math.abs(sum - rows[r * n + i]!)).toBeLessThan(1e-5);
      }
    }
  });

  test("reads the lower triangle only", async () => {
    const system = { matrix: spd(7), rows: random(14, "rows"), ridge: 0.1, name: "w" };
    const expected = await solveSpd(runtime, system, { blockSize: 3 });
    const lower = system.matrix.map((value, at) => (at % 7 > Math.floor(at / 7) ? 1e6 : value));
    expect(await solveSpd(runtime, { ...system, matrix: lower }, { blockSize: 3 })).toEqual(expected);
  });

  test("raises the ridge tenfold until the matrix is positive definite", async () => {
    const system = {
      matrix: Float64Array.of(-5, 0, 0, 1),
      rows: Float64Array.of(95, 2),
      ridge: 1,
      name: "w",
    };
    const { rows, ridge } = await solveSpd(runtime, system);
    expect(ridge).toBe(10);
    expect(rows[0]).toBeCloseTo(19, 10);
    expect(rows[1]).toBeCloseTo(2 / 11, 10);
  });

  test("solves a singular system without a ridge with a tiny one", async () => {
    const system = { matrix: new Float64Array(4), rows: new Float64Array(2), ridge: 0, name: "w" };
    expect(await solveSpd(runtime, system)).toEqual({ rows: new Float64Array(2), ridge: 1e-12 });
  });

  test("names what stays indefinite or is not finite", async () => {
    const one = Float64Array.of(1);
    const indefinite = solveSpd(runtime, { matrix: Float64Array.of(-1e5), rows: one, ridge: 1, name: "w" });
    await expect(indefinite).rejects.toMatchObject({
      code: "NOT_FINITE",
      message: expect.stringContaining("w: "),
    });
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const inMatrix = solveSpd(runtime, { matrix: Float64Array.of(bad), rows: one, ridge: 1, name: "w" });
      await expect(inMatrix).rejects.toMatchObject({ code: "NOT_FINITE" });
      const inRows = solveSpd(runtime, { matrix: one, rows: Float64Array.of(bad), ridge: 1, name: "w" });
      await expect(inRows).rejects.toMatchObject({ code: "NOT_FINITE" });
    }
  });
});
