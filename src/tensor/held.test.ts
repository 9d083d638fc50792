import { describe, expect, test } from "vitest";
import { heldSource } from "./held.ts";
import { memorySource } from "./memory.ts";
import type { TensorSource } from "./tensor.ts";

const TENSOR = { shape: [3, 2], data: Float32Array.of(1, 2, 3, 4, 5, 6) };

/** A source that records its reads, the first `failures` of which fail. */
function watched(failures = 0): { source: TensorSource; reads: string[] } {
  const reads: string[] = [];
  const memory = memorySource(new Map([["a", TENSOR]]));
  const source: TensorSource = {
    ...memory,
    async read(name, rows) {
      reads.push(rows === undefined ? name : `${name} ${rows.start}..${rows.end}`);
      if (reads.length <= failures) throw new Error("not now");
      return memory.read(name, rows);
    },
  };
  return { source, reads };
}

describe("heldSource", () => {
  test("reads a tensor once, and takes its parts from it", async () => {
    const { source, reads } = watched();
    const held = heldSource(source);
    const [first, second] = await Promise.all([held.read("a"), held.read("a")]);
    expect(first).toBe(second);
    expect(await held.read("a", { start: 1, end: 3 })).toEqual(await source.read("a", { start: 1, end: 3 }));
    expect(reads).toEqual(["a", "a 1..3"]);
    await expect(held.read("a", { start: 1, end: 4 })).rejects.toThrow("expected rows inside 0..3");
  });

  test("does not read more than the parts that it is asked for", async () => {
    const { source, reads } = watched();
    const held = heldSource(source);
    for (let i = 0; i < 2; i++) {
      expect((await held.read("a", { start: 0, end: 1 })).data).toEqual(Float32Array.of(1, 2));
    }
    expect(reads).toEqual(["a 0..1", "a 0..1"]);
  });

  test("asks again for what could not be read", async () => {
    const { source, reads } = watched(1);
    const held = heldSource(source);
    await expect(held.read("a")).rejects.toThrow("not now");
    expect(await held.read("a")).toBe(TENSOR);
    await expect(held.read("b")).rejects.toThrow("b: expected a tensor of the model");
    expect(reads).toEqual(["a", "a", "b"]);
  });
});
