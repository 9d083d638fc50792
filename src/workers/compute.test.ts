import { existsSync } from "node:fs";
import { readdir, readlink, stat } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { temporaryDirectory } from "../../test/file_faults.ts";
import { writeTinyCheckpoint } from "../../test/tiny_checkpoint.ts";
import { armFailPoints } from "../io/fail_points.ts";
import { openStore } from "../io/open_store.ts";
import { keepValue } from "../io/store.ts";
import { openModel } from "../model/checkpoint.ts";
import { modelHashes } from "../model/model_hashes.ts";
import { silent } from "../progress.ts";
import { UnitComputer } from "./compute.ts";
import type { UnitJob } from "./unit.ts";

/** Where Linux lists what a process has open. */
const OPEN_FILES = "/proc/self/fd";

/** How many of this process's open files lie in a directory. */
async function openFiles(directory: string): Promise<number> {
  const links = (await readdir(OPEN_FILES)).map((fd) => readlink(join(OPEN_FILES, fd)).catch(() => ""));
  return (await Promise.all(links)).filter((path) => path.startsWith(directory)).length;
}

test.skipIf(!existsSync(OPEN_FILES))("a model that cannot be checked is closed again", async () => {
  const root = await temporaryDirectory();
  const model = await writeTinyCheckpoint(join(root, "model"));
  const opened = await openModel(model);
  const hashes = await modelHashes(opened, silent);
  await opened.weights.close();
  const store = await openStore(join(root, "store"));
  const windows = await keepValue(store, { set: "", windows: [Int32Array.of(1, 2, 3, 4)] });
  const job: UnitJob = { model, unit: { kind: "losses", hashes, windows, recipe: null } };
  const computer = new UnitComputer({ store, threads: 1 });
  onTestFinished(() => {
    armFailPoints(null);
    return computer.close();
  });
  const { size } = await stat(join(model, "model.safetensors"));
  armFailPoints((_, __, bytes) => {
    // Whoever hashes a file reads all of it, whoever opens a model does not.
    if (bytes === size) throw Object.assign(new Error("a bad sector"), { code: "EIO" });
    return undefined;
  });
  await expect(computer.compute(job)).rejects.toMatchObject({ code: "BAD_FILE" });
  expect(await openFiles(model)).toBe(0);
  armFailPoints(null);
  await expect(computer.compute(job)).resolves.toHaveProperty("losses");
});
