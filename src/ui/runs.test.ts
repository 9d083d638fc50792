import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { reportFiles } from "../../test/report_files.ts";
import { formatRunRecord } from "../report/run_record.ts";
import { Runs } from "./runs.ts";
import type { RunEnding } from "./start_run.ts";

test("a run that failed keeps the settings that were asked for, and says where their paths lead from", async () => {
  const root = await mkdtemp(join(tmpdir(), "gprune-ui-"));
  onTestFinished(() => rm(root, { recursive: true, force: true }));
  const problem = { code: "NOT_FOUND", message: "none", hint: null };
  const ending = Promise.resolve({ state: "failed", problem } as const);
  const runs = new Runs(root, () => ({ ending, stop: () => {} }));
  const settings = { model: "m", calibration: [{ name: "web", path: "nope.txt" }] };
  runs.start({ name: "small", settings: { ...settings, output: "elsewhere" } });
  await ending;
  const { live, workingDirectory } = await runs.state();
  expect(live).toMatchObject({ id: "small", state: "failed", failure: problem });
  expect(live?.settings).toEqual(settings);
  expect(workingDirectory).toBe(process.cwd());
});

test("a run that ends while the directory is looked at is in the list when somebody asks again", async () => {
  const root = await mkdtemp(join(tmpdir(), "gprune-ui-"));
  onTestFinished(() => rm(root, { recursive: true, force: true }));
  let end: (ending: RunEnding) => void = () => {};
  const ending = new Promise<RunEnding>((resolve) => {
    end = resolve;
  });
  const runs = new Runs(root, () => ({ ending, stop: () => {} }));
  runs.start({ name: "small", settings: { model: "m", calibration: [{ name: "web", path: "w.txt" }] } });
  // The list is being made, and the run ends before it is there.
  const before = runs.state();
  end({ state: "finished" });
  await before;
  await mkdir(join(root, "small"));
  await writeFile(join(root, "small", "run.json"), formatRunRecord(reportFiles().record));
  expect((await runs.state()).runs).toMatchObject([{ id: "small", state: "finished" }]);
});
