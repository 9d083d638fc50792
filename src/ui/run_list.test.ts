import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../../test/file_faults.ts";
import { listRuns } from "./run_list.ts";

/** A directory with the progress of something that depends on these facts. */
async function withProgress(root: string, name: string, facts: unknown): Promise<void> {
  await mkdir(join(root, name));
  const content = { format: "gprune-run", version: 1, facts, written: null, entries: {} };
  await writeFile(join(root, name, "manifest.json"), JSON.stringify(content));
}

test("lists unfinished runs, but no exports and evaluations that keep their progress likewise", async () => {
  const root = await temporaryDirectory();
  const settings = { model: "models/a", method: "gprune", metric: "magnitude", recover: "none" };
  await withProgress(root, "run.run", { settings });
  await withProgress(root, "export.run", { export: { dtype: "BF16" }, model: {}, versions: {} });
  await withProgress(root, "scores.run", { evaluation: "scores by what they depend on" });
  await withProgress(root, "odd.run", { something: "else" });
  const runs = await listRuns(root);
  expect(runs.map(({ id, state, base }) => [id, state, base]).sort()).toEqual([
    ["odd.run", "damaged", ""],
    ["run", "unfinished", "models/a"],
  ]);
});
