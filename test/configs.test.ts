/** Run configurations of docs/configs: valid, one for each family, with their usage. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parseRunConfig, resolveRunConfig } from "../src/index.ts";
import { FAMILY_NAMES } from "../src/model/families/families.ts";

const DIRECTORY = join(import.meta.dirname, "..", "docs", "configs");
const names = readdirSync(DIRECTORY);

test("there is one for each family", () => {
  expect(names.map((name) => name.replace(/[.]yaml$/, "")).sort()).toEqual([...FAMILY_NAMES].sort());
});

test.each(names)("%s is valid, with several sets and a model of the hub, and says how it is used", (name) => {
  const text = readFileSync(join(DIRECTORY, name), "utf8");
  const config = resolveRunConfig(parseRunConfig(text, name), name);
  expect(text).toContain(`gprune prune --config docs/configs/${name}`);
  expect(config.calibration.length).toBeGreaterThan(1);
  expect(config.model).toMatch(/^hf:\/\//);
});
