import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { formatPlan, parsePlan, prune, resolveRunConfig } from "../src/index.ts";
import { temporaryDirectory } from "./directories.ts";
import { writeTinyCheckpoint } from "./tiny_checkpoint.ts";

test("a plan knows the weights it was made for, and is carried out on others with a warning", async () => {
  const root = await temporaryDirectory();
  const made = await writeTinyCheckpoint(join(root, "made"));
  const copy = await writeTinyCheckpoint(join(root, "copy"));
  const other = await writeTinyCheckpoint(join(root, "other"), { seed: 1 });
  const pruned = async (model: string, name: string, plan?: string): Promise<readonly string[]> => {
    const warnings: string[] = [];
    const plain = { method: "none", metric: "magnitude", recover: "none", report: false };
    const config = { model, output: join(root, name), ...plain, ...(plan && { plan }) };
    await prune(resolveRunConfig(config, "test"), { onWarning: (text) => warnings.push(text) });
    return warnings;
  };
  const path = join(root, "first", "plan.json");
  expect(await pruned(made, "first")).toEqual([]);
  const plan = parsePlan(await readFile(path, "utf8"), path);
  expect(plan.provenance.model_sha256).toMatch(/^[0-9a-f]{64}$/);
  expect(await pruned(copy, "second")).toEqual([]);
  expect(await readFile(join(root, "second", "plan.json"), "utf8")).toBe(formatPlan(plan));

  expect(await pruned(copy, "same", path)).toEqual([]);
  expect(await pruned(other, "another", path)).toEqual([
    `${path}: the plan was made for a model with other weights than those of ${other}`,
  ]);
  const old = join(root, "old.json");
  const { model_sha256: _, ...provenance } = plan.provenance;
  await writeFile(old, formatPlan({ ...plan, provenance }));
  expect(await pruned(other, "unknown", old)).toEqual([]);
});
