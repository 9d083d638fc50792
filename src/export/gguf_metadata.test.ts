import { basename, join } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { tinyModel } from "../../test/tiny_model.ts";
import { openGguf } from "../io/formats/gguf.ts";
import { openModel } from "../model/checkpoint/checkpoint.ts";
import { exportGguf } from "./gguf.ts";

test("names a model in the current directory by that directory", async () => {
  const path = join(await temporaryDirectory(), "a.gguf");
  await exportGguf({ ...tinyModel(), origin: { name: ".", format: "memory", dtype: "F32" } }, path);
  const { metadata, source } = await openGguf(path);
  expect(metadata.get("general.name")).toBe(basename(process.cwd()));
  await source.close();
});

test("says that a file has no vocabulary, also when it is made from such a file", async () => {
  const directory = await temporaryDirectory();
  const warning = "the model has no tokenizer, so the file has no vocabulary";
  const path = join(directory, "a.gguf");
  expect((await exportGguf(tinyModel(), path)).warnings).toEqual([warning]);
  const opened = await openModel(path);
  expect((await exportGguf(opened, join(directory, "b.gguf"))).warnings).toEqual([warning]);
  await opened.weights.close();
});
