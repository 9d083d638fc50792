/** Every promise of SECURITY.md names tests that exist. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const ROOT = join(import.meta.dirname, "..");
const promises = readFileSync(join(ROOT, "SECURITY.md"), "utf8")
  .split("\n## ")
  .find((section) => section.startsWith("What is promised"))!
  .split("\n")
  .filter((line) => /^[|] (?!promise|-)/.test(line))
  .map((line) => line.split("|").map((cell) => cell.trim()))
  .map(([, promise = "", tests = ""]) => [promise, tests] as const);

test("there are promises", () => {
  expect(promises.length).toBeGreaterThan(20);
});

test.each(promises)("%s", (_, tests) => {
  const named = [...tests.matchAll(/`([^`]+[.]test[.]ts)`: ([^`]+?)(?=; `|$)/g)];
  expect(named.length).toBeGreaterThan(0);
  for (const [, path, titles] of named) {
    const source = readFileSync(join(ROOT, path!), "utf8");
    for (const title of titles!.split("; ")) expect(source).toContain(title);
  }
});
