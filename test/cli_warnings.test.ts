import { cp, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { writeSafetensors } from "../src/io/formats/safetensors_writer.ts";
import { suiteDirectory } from "./directories.ts";
import { readAll } from "./golden_model.ts";
import { gprune, json } from "./run_cli.ts";
import { writeTinyCheckpoint, writeTinyTexts } from "./tiny_checkpoint.ts";
import { randomTensor } from "./tiny_model.ts";

const root = suiteDirectory("warnings");
let model: string;
let calib: readonly string[];
let stories: string;

beforeAll(async () => {
  model = await writeTinyCheckpoint(join(root(), "model"));
  ({ stories } = await writeTinyTexts(root()));
  const few = ["--samples", "2", "--seq-len", "16", "--method", "none"];
  calib = [...few, "--calib", `stories=${stories}`];
});

/** A copy of the model with one more tensor. */
async function withTensor(name: string): Promise<string> {
  const directory = join(root(), name);
  await cp(model, directory, { recursive: true });
  const weights = join(directory, "model.safetensors");
  const tensors = [...(await readAll(weights)), [name, randomTensor([2, 16])] as const];
  await rm(weights);
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
  const warning = `warning: ${classifier}: 1 tensor is unused and will not be in the output: score.weight\n`;
  const exported = await gprune("export", classifier, "-o", join(root(), "exported"), "-q");
  expect(exported).toMatchObject({ code: 0, stderr: warning });
  const inspected = await gprune("inspect", classifier, "--json");
  expect(inspected.stderr).toBe(warning);
  expect(json(inspected)).toMatchObject({ layers: 3 });
  const pruned = await gprune("prune", classifier, "-o", join(root(), "pruned"), ...calib, "-q");
  expect(pruned).toMatchObject({ code: 0, stderr: warning });
});

test("eval has no ratio where models cut the texts into other tokens, and says why", async () => {
  const other = join(root(), "other-tokens");
  await cp(model, other, { recursive: true });
  const path = join(other, "tokenizer.json");
  const tokenizer = JSON.parse(await readFile(path, "utf8")) as { model: { merges: readonly unknown[] } };
  const fewer = { ...tokenizer.model, merges: tokenizer.model.merges.slice(0, 900) };
  await writeFile(path, JSON.stringify({ ...tokenizer, model: fewer }));
  const options = ["--baseline", model, "--text", `stories=${stories}`, "--limit", "1", "-q"];
  const [cut, same] = await Promise.all([
    gprune("eval", other, ...options),
    gprune("eval", model, ...options),
  ]);
  expect({ code: cut.code, stderr: cut.stderr }).toEqual({ code: 0, stderr: "" });
  expect(cut.stdout).toMatch(/^text +baseline ppl +ppl +windows$/m);
  expect(cut.stdout).toContain(
    "\nNo ratio: the models tokenize the texts differently, so perplexities are not comparable.\n",
  );
  expect(same.stdout).toMatch(/^text +baseline ppl +ppl +ratio +windows$/m);
  expect(same.stdout).not.toContain("No ratio");
});
