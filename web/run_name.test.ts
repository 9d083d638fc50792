import { expect, test } from "vitest";
import { nextName } from "./run_name.ts";

const free = (id: string): string => nextName(id, new Set());

test("counts runs of the same name", () => {
  expect(free("runs/small")).toBe("small-2");
  expect(nextName("small-2", new Set(["small", "small-2", "small-3"]))).toBe("small-4");
});

test("proposes only names that the form accepts", () => {
  const ids = ["my run", "größe ü", "日本", "_hidden", "x".repeat(200), "a+b (copy)", "-5"];
  for (const name of ids.map(free)) expect(name).toMatch(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/);
  expect(["my run", "größe ü", "日本"].map(free)).toEqual(["my-run-2", "gr-e-2", "run-2"]);
});
