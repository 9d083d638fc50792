import { describe, expect, test } from "vitest";
import { tinyModel } from "../../test/tiny_model.ts";
import { parameterCount } from "./parameter_counts.ts";
import { storedBytes } from "./stored_size.ts";

describe("storedBytes", () => {
  const model = tinyModel();
  const stored = (dtype: string): number => {
    const info = (name: string) => ({ dtype, shape: model.weights.info(name)!.shape });
    return storedBytes({ ...model, weights: { ...model.weights, info } });
  };
  const parameters = parameterCount(model.spec);

  test.each([
    ["F32", 4],
    ["BF16", 2],
    ["Q8_0", 34 / 32],
    ["Q4_1", 20 / 32],
    ["Q6_K", 210 / 256],
  ])("counts %s", (dtype, bytes) => {
    expect(stored(dtype)).toBeCloseTo(parameters * bytes, 6);
  });

  test("throws for an unknown type", () => {
    expect(() => stored("Q9")).toThrow("internal: dtype Q9");
  });
});
