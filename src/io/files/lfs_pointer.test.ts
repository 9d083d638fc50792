import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { writeTinyCheckpoint } from "../../../test/tiny_checkpoint.ts";
import { openModel } from "../../model/checkpoint/checkpoint.ts";
import { readRecords } from "../texts/records.ts";
import { readText } from "../texts/texts.ts";
import { refuseLfsPointer } from "./lfs_pointer.ts";

const POINTER =
  "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";

test.each([
  ["model.safetensors", "safetensors"],
  ["config.json", "JSON"],
  ["tokenizer.json", "the file itself"],
  ["tokenizer.model", "the file itself"],
])("%s that is a pointer of Git LFS is named, with what to do", async (name, expected) => {
  const directory = await writeTinyCheckpoint(join(await temporaryDirectory(), "model"));
  await writeFile(join(directory, name), POINTER);
  await expect(openModel(directory)).rejects.toMatchObject({
    code: "BAD_FILE",
    message: `${join(directory, name)}: expected ${expected}, got a Git LFS pointer`,
    hint: "The file itself was not downloaded: run `git lfs pull` in its directory.",
  });
});

test("so is a GGUF file", async () => {
  const directory = join(await temporaryDirectory(), "model");
  await mkdir(directory);
  const path = join(directory, "m.gguf");
  await writeFile(path, POINTER);
  await expect(openModel(path)).rejects.toThrow(`${path}: expected a GGUF file, got a Git LFS pointer`);
});

test.each(["a.txt", "a.jsonl", "a.json", "a.parquet"])("so are texts and tasks: %s", async (name) => {
  const path = join(await temporaryDirectory(), name);
  await writeFile(path, POINTER);
  const error = { code: "BAD_FILE", message: expect.stringMatching(/, got a Git LFS pointer$/) };
  await expect(readText(path, 1000)).rejects.toMatchObject(error);
  await expect(readRecords(path, 1)).rejects.toMatchObject(error);
});

test("a larger file and another text are none", () => {
  const told = { where: "x", expected: "y" };
  refuseLfsPointer(Buffer.from(POINTER.padEnd(1024)), told);
  refuseLfsPointer(Buffer.from("version 2"), told);
  expect(() => refuseLfsPointer(Buffer.from(POINTER), told)).toThrow("x: expected y, got a Git LFS pointer");
});
