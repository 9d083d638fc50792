import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../../test/file_faults.ts";
import { listRuns } from "./run_list.ts";

/** A directory with the progress of something that depends on these facts. */
async function withProgress(path: string, facts: unknown, limits?: object): Promise<void> {
  await mkdir(path);
  const content = { format: "gprune-run", version: 1, facts, written: null, limits, entries: {} };
  await writeFile(join(path, "manifest.json"), JSON.stringify(content));
}

test("says with what budget an unfinished run is to go on", async () => {
  const root = await temporaryDirectory();
  const facts = { settings: { model: "models/a", output: "out", recover: "none" } };
  await withProgress(join(root, "a.run"), facts, { maxMemory: 4e9, threads: 2 });
  await withProgress(join(root, "b.run"), facts);
  const runs = await listRuns(root);
  const settings = { model: "models/a", recover: "none", dtype: "auto" };
  expect(Object.fromEntries(runs.map((run) => [run.id, run.settings]))).toEqual({
    a: { ...settings, maxMemory: 4e9, threads: 2 },
    b: settings,
  });
});

test("lists unfinished runs, but no exports and evaluations that keep their progress likewise", async () => {
  const root = await temporaryDirectory();
  const settings = { model: "models/a", method: "gprune", metric: "magnitude", recover: "none" };
  await withProgress(join(root, "run.run"), { settings });
  await withProgress(join(root, "export.run"), { export: { dtype: "BF16" }, model: {}, versions: {} });
  await withProgress(join(root, "scores.run"), { evaluation: "scores by what they depend on" });
  await withProgress(join(root, "odd.run"), { something: "else" });
  const runs = await listRuns(root);
  expect(runs.map(({ id, state, base }) => [id, state, base]).sort()).toEqual([
    ["odd.run", "damaged", ""],
    ["run", "unfinished", "models/a"],
  ]);
});
