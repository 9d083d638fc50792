import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { MockS3 } from "../../test/mock_s3.ts";
import { writeTinyCheckpoint } from "../../test/tiny_checkpoint.ts";
import { silent } from "../base/progress.ts";
import { openModel } from "../model/checkpoint/checkpoint.ts";
import { modelHashes } from "../model/checkpoint/model_hashes.ts";
import type { UnitJob } from "./unit.ts";
import { UnitProcess } from "./unit_process.ts";

const object = { bytes: 0, sha256: "0".repeat(64) };
const job: UnitJob = { model: "model", unit: { kind: "losses", hashes: {}, windows: object, recipe: null } };

/** Makes Node unavailable to child processes until the end of the test. @returns a function that restores it */
function withoutNode(): () => void {
  const { execPath } = process;
  process.execPath = "/not/there/node";
  const putBack = (): void => {
    process.execPath = execPath;
  };
  onTestFinished(putBack);
  return putBack;
}

test("a process that cannot be started is said to be so, and tried again", async () => {
  const putBack = withoutNode();
  const unit = new UnitProcess({ store: "store" });
  unit.start();
  // Meanwhile a worker would report the start of the unit.
  await new Promise((resolve) => setTimeout(resolve, 50));
  await expect(unit.compute(job, 10)).rejects.toThrow("ENOENT");
  await new Promise((resolve) => setTimeout(resolve, 50));
  putBack();
  unit.start();
  expect(unit.pid).toBeGreaterThan(0);
  await unit.stop();
});

test("a limit of more days than a timer takes is not over at once", { timeout: 60_000 }, async () => {
  const unit = new UnitProcess({
    store: join(await temporaryDirectory(), "store"),
    model: "/not/there/model",
  });
  const answer = await unit.compute(job, 1e9);
  expect(answer).toMatchObject({ type: "failed", failure: { code: "NOT_FOUND" }, atModel: true });
  await unit.stop();
});

/** The job with an existing model. */
async function jobIn(root: string): Promise<UnitJob> {
  const model = await writeTinyCheckpoint(join(root, "model"));
  const opened = await openModel(model);
  const hashes = await modelHashes(opened, silent);
  await opened.weights.close();
  return { model, unit: { ...job.unit, hashes } };
}

test("what a unit lacks is told from what the machine lacks", { timeout: 60_000 }, async () => {
  const root = await temporaryDirectory();
  const unit = new UnitProcess({ store: join(root, "store") });
  onTestFinished(() => unit.stop());
  const answer = await unit.compute(await jobIn(root), 60);
  expect(answer).toMatchObject({ type: "failed", failure: { code: "STORE_FAILED" }, atModel: false });
});

test("a process that is ended in the middle of a download leaves nothing on this machine", {
  timeout: 120_000,
}, async () => {
  const root = await temporaryDirectory();
  const s3 = await MockS3.start();
  s3.endless = "objects/";
  const unit = new UnitProcess({ store: "s3://bucket" });
  const environment = { ...s3.environment, TMPDIR: await temporaryDirectory() };
  for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
  onTestFinished(async () => {
    vi.unstubAllEnvs();
    await unit.stop();
    await s3.close();
  });
  const downloads = async (): Promise<readonly string[]> =>
    (await readdir(environment.TMPDIR, { recursive: true })).filter((name) => name.includes("gprune-"));
  const refused = expect(unit.compute(await jobIn(root), 600)).rejects.toThrow("SIGKILL");
  await expect.poll(downloads, { timeout: 60_000 }).not.toEqual([]);
  await unit.stop();
  await refused;
  expect(await downloads()).toEqual([]);
});
