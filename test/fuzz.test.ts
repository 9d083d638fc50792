/** A small sample of bench/fuzz.ts. */
import { join } from "node:path";
import fc from "fast-check";
import { beforeEach, expect, test } from "vitest";
import { type FuzzTarget, fuzz } from "../bench/fuzz/harness.ts";
import { readInProcess } from "../bench/fuzz/parquet_process.ts";
import { FUZZ_TARGETS } from "../bench/fuzz/targets.ts";
import { GpruneError } from "../src/index.ts";
import type { ParquetRequest } from "../src/io/texts/parquet_process.ts";
import { temporaryDirectory } from "./directories.ts";

const INPUTS = 200;

let directory: string;
beforeEach(async () => {
  directory = await temporaryDirectory();
});

test.each(FUZZ_TARGETS.map((target) => [target.name, target] as const))(
  "%s: generated files are read or refused, in time and memory",
  async (_, target) => {
    const result = await fuzz(target, { inputs: INPUTS, seed: 7, directory });
    expect(result.failure).toBeNull();
    expect(result.inputs).toBe(INPUTS);
    expect(result.accepted).toBeGreaterThan(0);
    expect(result.accepted).toBeLessThan(INPUTS);
  },
);

/** A target with files of a hundred bytes, which `open` opens. */
function opening(open: () => Promise<undefined>): FuzzTarget {
  const files = fc.constant({ "x.bin": new Uint8Array(100) });
  return { name: "broken", share: 1, files, open };
}

test("a reader that crashes is found", async () => {
  const target = opening(() => Promise.reject(new RangeError("stack")));
  const { failure } = await fuzz(target, { inputs: 5, seed: 1, directory });
  expect(failure).toContain("RangeError: stack");
  expect(failure).toContain("x.bin, 100 bytes");
});

test("a reader that reports a bug of ours is found", async () => {
  const target = opening(() => Promise.reject(new GpruneError("INTERNAL", "internal: x")));
  expect((await fuzz(target, { inputs: 5, seed: 1, directory })).failure).toContain("internal: x");
});

test("a reader that crashes in the process for Parquet is found, and reads on", async () => {
  await expect(readInProcess(null as unknown as ParquetRequest)).rejects.toThrow(/^TypeError/);
  const missing = readInProcess({ path: join(directory, "missing"), rows: 1 });
  await expect(missing).rejects.toMatchObject({ code: "NOT_FOUND" });
});

test("a reader that allocates too much is found", async () => {
  const target = opening(async () => {
    new Float32Array(2 ** 20);
    return undefined;
  });
  const { failure } = await fuzz(target, { inputs: 5, seed: 1, directory });
  expect(failure).toContain("open: 4194304 bytes of arrays for 100");
});
