import { existsSync } from "node:fs";
import { readdir, readlink, stat } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { recordingReads } from "../../test/recording_store.ts";
import { writeTinyCheckpoint } from "../../test/tiny_checkpoint.ts";
import { randomTensor } from "../../test/tiny_model.ts";
import { silent } from "../base/progress.ts";
import { changeNames } from "../calibrate/slopes.ts";
import { armFailPoints } from "../io/files/fail_points.ts";
import type { Digest } from "../io/files/stage_file.ts";
import { openStore } from "../io/store/open_store.ts";
import { keepValue } from "../io/store/store.ts";
import { openModel } from "../model/checkpoint/checkpoint.ts";
import { modelHashes } from "../model/checkpoint/model_hashes.ts";
import { OUTPUT_PROJECTION, spacesOf } from "../model/spaces.ts";
import type { ModelSpec } from "../model/spec.ts";
import { projectionName } from "../model/weight_names.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { UnitComputer } from "./compute.ts";
import { keepRecipe } from "./recipes.ts";
import type { UnitJob, UnitResult } from "./unit.ts";

/** Linux's list of this process's open files. */
const OPEN_FILES = "/proc/self/fd";

/** Number of this process's open files in a directory. */
async function openFiles(directory: string): Promise<number> {
  const links = (await readdir(OPEN_FILES)).map((fd) => readlink(join(OPEN_FILES, fd)).catch(() => ""));
  return (await Promise.all(links)).filter((path) => path.startsWith(directory)).length;
}

/** A tiny model on the disk, and a store with windows of it. */
async function tinyPlace() {
  const root = await temporaryDirectory();
  const model = await writeTinyCheckpoint(join(root, "model"));
  const opened = await openModel(model);
  const hashes = await modelHashes(opened, silent);
  await opened.weights.close();
  const store = await openStore(join(root, "store"));
  const keepWindows = (...ids: readonly number[]): Promise<Digest> =>
    keepValue(store, { set: "text", windows: [Int32Array.from(ids)] });
  return { model, hashes, spec: opened.spec, store, keepWindows };
}

/** A recipe that replaces the output projections of all layers, with a rank-1 change of each. */
function refittedRecipe(spec: ModelSpec): { readonly tensors: ReadonlyMap<string, Tensor> } {
  const tensors = spacesOf(spec).flatMap((space) => {
    const { inputs, outputs, centres } = changeNames(space);
    const { parts } = space;
    const channels = space.units * space.unitChannels;
    const shapes: readonly (readonly [string, readonly number[]])[] = [
      [projectionName(space.layer, OUTPUT_PROJECTION[space.kind]), [spec.hiddenSize, channels]],
      [inputs, [1, parts, 1, channels / parts]],
      [outputs, [1, parts, spec.hiddenSize, 1]],
      [centres, [1, parts, 1, 1]],
    ];
    return shapes.map(([name, shape]) => [name, randomTensor(shape, { name })] as const);
  });
  return { tensors: new Map(tensors) };
}

test.skipIf(!existsSync(OPEN_FILES))("a model that cannot be checked is closed again", async () => {
  const { model, hashes, store, keepWindows } = await tinyPlace();
  const windows = await keepWindows(1, 2, 3, 4);
  const job: UnitJob = { model, unit: { kind: "losses", hashes, windows, recipe: null } };
  const computer = new UnitComputer({ store, threads: 1 });
  onTestFinished(() => {
    armFailPoints(null);
    return computer.close();
  });
  const { size } = await stat(join(model, "model.safetensors"));
  armFailPoints((_, __, bytes) => {
    // Hashing reads a whole file at once, opening a model does not.
    if (bytes === size) throw Object.assign(new Error("a bad sector"), { code: "EIO" });
    return undefined;
  });
  await expect(computer.compute(job)).rejects.toMatchObject({ code: "BAD_FILE" });
  expect(await openFiles(model)).toBe(0);
  armFailPoints(null);
  await expect(computer.compute(job)).resolves.toHaveProperty("losses");
});

test("units of one recipe read its tensors once, and again when nothing came for a while or there is no room", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  onTestFinished(() => void vi.useRealTimers());
  const { model, hashes, spec, store, keepWindows } = await tinyPlace();
  const recipe = await keepRecipe(store, refittedRecipe(spec));
  const [first, second] = [await keepWindows(1, 2, 3, 4), await keepWindows(5, 6, 7)];
  const centres = await keepValue(store, new Map());
  const job = (windows: Digest): UnitJob => ({
    model,
    unit: { kind: "slopes", hashes, windows, recipe, centres },
  });
  const readsWith = (hasRoom: boolean) => {
    const { reads, store: recording } = recordingReads(store);
    const computer = new UnitComputer({ store: recording, threads: 1, hasRoom: () => hasRoom });
    onTestFinished(() => computer.close());
    return async (windows: Digest): Promise<{ readonly result: UnitResult; readonly count: number }> => {
      reads.length = 0;
      const result = await computer.compute(job(windows));
      return { result, count: reads.length };
    };
  };
  const [remembering, forgetful] = [readsWith(true), readsWith(false)];
  // Each of a layer's two spaces has a projection, read in both passes, and three tensors of changes.
  const [tensors, needed] = [spec.layers.length * 2 * 4, spec.layers.length * 2 * 5];
  // The other three are windows, centres and the recipe.
  const found = await remembering(first);
  expect(found.count).toBe(3 + tensors);
  expect(await remembering(first)).toEqual({ ...found, count: 2 });
  const other = await remembering(second);
  expect(other.count).toBe(2);
  expect(await forgetful(first)).toEqual({ ...found, count: 3 + needed });
  expect(await forgetful(second)).toEqual({ ...other, count: 2 + needed });
  vi.advanceTimersByTime(60_000);
  expect(await remembering(first)).toEqual(found);
});
