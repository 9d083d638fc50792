import { describe, expect, test } from "vitest";
import { memorySource } from "./memory.ts";

const matrix = { shape: [3, 2], data: Float32Array.of(1, 2, 3, 4, 5, 6) };
const source = memorySource(new Map([["w", matrix]]));

describe("memorySource", () => {
  test("lists, describes and reads its tensors", async () => {
    expect(source.names).toEqual(["w"]);
    expect(source.info("w")).toEqual({ dtype: "F32", shape: [3, 2] });
    expect(source.info("v")).toBeUndefined();
    expect(await source.read("w")).toEqual(matrix);
  });

  test("reads rows, also none", async () => {
    const part = { shape: [2, 2], data: Float32Array.of(3, 4, 5, 6) };
    expect(await source.read("w", { start: 1, end: 3 })).toEqual(part);
    expect((await source.read("w", { start: 1, end: 1 })).shape).toEqual([0, 2]);
  });

  test.each([
    { start: -1, end: 1 },
    { start: 2, end: 1 },
    { start: 0, end: 4 },
    { start: 0.5, end: 1 },
  ])("refuses rows $start..$end", async (rows) => {
    await expect(source.read("w", rows)).rejects.toMatchObject({ code: "BAD_TENSOR" });
  });

  test("refuses an unknown name", async () => {
    await expect(source.read("v")).rejects.toMatchObject({ code: "BAD_TENSOR" });
  });
});
