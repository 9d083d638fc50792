import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { writeSafetensors } from "../src/io/safetensors_writer.ts";
import { tensorsOf } from "./plans.ts";
import { gprune, json } from "./run_cli.ts";
import { writeTinyCheckpoint, writeTinyTexts } from "./tiny_checkpoint.ts";
import { randomTensor, tinyModel } from "./tiny_model.ts";

let root: string;
let model: string;
let calib: readonly string[];

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "gprune-warnings-"));
  model = await writeTinyCheckpoint(join(root, "model"));
  const texts = await writeTinyTexts(root);
  const few = ["--samples", "2", "--seq-len", "16", "--method", "none"];
  calib = [...few, "--calib", `stories=${texts.stories}`];
});
afterAll(() => rm(root, { recursive: true, force: true }));

/** A copy of the model with one more tensor. */
async function withTensor(name: string): Promise<string> {
  const directory = join(root, name);
  await cp(model, directory, { recursive: true });
  const shape = { vocabSize: 2048, hiddenSize: 16, layers: [0, 1, 2].map(() => ({ neurons: 64 })) };
  const tensors = [...(await tensorsOf(tinyModel(shape))), [name, randomTensor([2, 16])] as const];
  await rm(join(directory, "model.safetensors"));
  await writeSafetensors(
    directory,
    tensors.map(([key, tensor]) => ({
      name: key,
      shape: tensor.shape,
      dtype: "F32",
      read: async () => tensor,
    })),
  );
  return directory;
}

test("tensors that no output will have are named, whoever opens the model", async () => {
  const classifier = await withTensor("score.weight");
  const warning = `warning: ${classifier}: 1 tensor is not used and will not be in the output: score.weight\n`;
  const exported = await gprune("export", classifier, "-o", join(root, "exported"), "-q");
  expect(exported).toMatchObject({ code: 0, stderr: warning });
  const inspected = await gprune("inspect", classifier, "--json");
  expect(inspected.stderr).toBe(warning);
  expect(json(inspected)).toMatchObject({ layers: 3 });
  const pruned = await gprune("prune", classifier, "-o", join(root, "pruned"), ...calib, "-q");
  expect(pruned).toMatchObject({ code: 0, stderr: warning });
});
