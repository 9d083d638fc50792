import { describe, expect, it } from "vitest";
import { type DerivedTensor, derivedSource } from "./derived.ts";
import { memorySource, sliceRows } from "./memory.ts";
import type { Tensor } from "./tensor.ts";

const TENSORS: ReadonlyMap<string, Tensor> = new Map(
  ["first", "second", "third"].map((name, index) => {
    return [name, { shape: [3, 1], data: Float32Array.of(index, index + 10, index + 20) }] as const;
  }),
);

describe("derivedSource", () => {
  const source = memorySource(TENSORS);

  /** `second`, negated. */
  const negated: DerivedTensor = {
    info: { dtype: "BF16", shape: [3, 1] },
    read: async (rows) => {
      const { shape, data } = sliceRows(TENSORS.get("second")!, rows, "second");
      return { shape, data: data.map((value) => -value) };
    },
  };

  it("is the source itself without derived tensors", () => {
    expect(derivedSource(source, new Map(), new Set(["first"]))).toBe(source);
  });

  it("lists derived tensors in place of those of the same names, or after all that are not hidden", () => {
    const derived = new Map([
      ["new", negated],
      ["second", negated],
    ]);
    expect(derivedSource(source, derived).names).toEqual(["first", "second", "third", "new"]);
    expect(derivedSource(source, derived, new Set(["first"])).names).toEqual(["second", "third", "new"]);
  });

  it("reads derived tensors, whole or some rows, and the others from the source", async () => {
    const view = derivedSource(source, new Map([["second", negated]]));
    expect(view.info("second")).toEqual({ dtype: "BF16", shape: [3, 1] });
    expect(view.info("third")).toEqual({ dtype: "F32", shape: [3, 1] });
    expect(await view.read("second")).toEqual({ shape: [3, 1], data: Float32Array.of(-1, -11, -21) });
    expect((await view.read("second", { start: 1, end: 2 })).data).toEqual(Float32Array.of(-11));
    expect((await view.read("third", { start: 2, end: 3 })).data).toEqual(Float32Array.of(22));
  });

  it("refuses rows outside a derived tensor, and unknown names", async () => {
    const view = derivedSource(source, new Map([["second", negated]]));
    await expect(view.read("second", { start: 1, end: 4 })).rejects.toThrow(
      "second: expected rows inside 0..3, got 1..4",
    );
    await expect(view.read("fourth")).rejects.toThrow("fourth: expected a tensor of the model");
  });
});
