import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../test/directories.ts";
import { writeTinyCheckpoint, writeTinyTexts } from "../test/tiny_checkpoint.ts";
import { type RunConfig, resolveRunConfig } from "./config.ts";
import { dryRun } from "./dry_run.ts";
import { RunDirectory } from "./io/run/directory.ts";
import { prune } from "./pipeline.ts";

async function tinyRun(settings: object): Promise<{ readonly root: string; readonly config: RunConfig }> {
  const root = await temporaryDirectory();
  const model = await writeTinyCheckpoint(join(root, "model"));
  const calibration = Object.entries(await writeTinyTexts(root)).map(([name, path]) => ({ name, path }));
  const few = { sparsity: 0.3, samples: 3, seqLen: 24, threads: 1, report: false, ownText: "never" };
  const input = { model, output: join(root, "out"), calibration, ...few, ...settings };
  return { root, config: resolveRunConfig(input, "test") };
}

test("foresees what the run will give, and leaves nothing behind", async () => {
  const { root, config } = await tinyRun({ method: "none" });
  const before = await readdir(root);
  const found = await dryRun(config);
  expect(await readdir(root)).toEqual(before);
  const result = await prune(config);
  const { output, runtimes, calibration, parameters } = result;
  expect(found).toMatchObject({ output, runtimes, calibration });
  expect(found.memory).toMatchObject(result.memory!);
  expect(found.held_out_windows).toEqual({ stories: 2, code: 2 });
  expect(Object.keys(found.time!.stages)).toEqual(["calibrate", "check", "save"]);
  for (const seconds of Object.values(found.time!.stages)) expect(seconds).toBeGreaterThan(0);
  // One neuron of so small a model is a percent.
  expect(Math.abs(found.parameters.after / parameters.after - 1)).toBeLessThan(0.02);
  expect(found.disk.most).toBeGreaterThanOrEqual(found.disk.output);
  await expect(dryRun(config)).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
  // A plan says how much goes.
  const plan = join(output, "plan.json");
  const again = await dryRun({ ...config, plan, output: join(root, "again") });
  expect(again.sparsity.asked).toBe(result.sparsity.achieved);
});

test("refuses to say that a run would begin where an unfinished one waits", async () => {
  const { config } = await tinyRun({ method: "none" });
  const stages = await RunDirectory.claim(config.output);
  stages.begin({});
  await stages.run("analyse", async () => 1);
  await stages.leave();
  await expect(dryRun(config)).rejects.toMatchObject({
    code: "OUTPUT_EXISTS",
    message: expect.stringMatching(/out\.run: expected no unfinished run, got one$/),
  });
});

test.each([
  [{ maxMemory: 1_000_000 }, "OUT_OF_MEMORY"],
  [{ samples: 3, seqLen: 65 }, "BAD_ARGUMENT"],
  [{ metric: "magnitude", plan: "nowhere.json" }, "NOT_FOUND"],
])("refuses what a run would refuse: %j", async (settings, code) => {
  const { config } = await tinyRun(settings);
  await expect(dryRun(config)).rejects.toMatchObject({ code });
  await expect(prune(config)).rejects.toMatchObject({ code });
});

test("does not begin after the signal to stop", async () => {
  const { config } = await tinyRun({ method: "none" });
  const stopped = { code: "INTERRUPTED", message: "stopped before the run finished" };
  await expect(dryRun(config, { signal: AbortSignal.abort() })).rejects.toMatchObject(stopped);
});
