import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { reportFiles } from "../../test/report_files.ts";
import { formatRunRecord } from "../report/run_record.ts";
import { Runs } from "./runs.ts";
import type { RunEnding } from "./start_run.ts";

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
