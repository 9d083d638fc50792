import { mkdir, readdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { tinyModel } from "../../test/tiny_model.ts";
import { exportGguf } from "./gguf.ts";
import { exportHuggingFace } from "./hf.ts";
import { exportOnnx } from "./onnx.ts";
import { exportResumably } from "./resumed_export.ts";
import { requireExportRoom } from "./room.ts";

const output = join(tmpdir(), "gprune-not-there", "out");

test("what does not fit onto the disk is refused, with what is there", async () => {
  await requireExportRoom(tinyModel(), { output, bytes: 1e6 });
  await expect(requireExportRoom(tinyModel(), { output, bytes: 2 ** 60 })).rejects.toMatchObject({
    code: "OUTPUT_FAILED",
    message: expect.stringMatching(/out: expected 1073741824\.00 GiB of free space, got [\d.]+ GiB$/),
  });
});

test("a tensor that cannot be held is refused before anything is written, in every format", async () => {
  const parent = await temporaryDirectory();
  const { constrainedMemory } = process;
  process.constrainedMemory = () => 1e6;
  try {
    const refused = {
      code: "OUT_OF_MEMORY",
      message: expect.stringMatching(/^memory: expected .* for the largest/),
    };
    await expect(exportHuggingFace(tinyModel(), join(parent, "hf"))).rejects.toMatchObject(refused);
    await expect(exportOnnx(tinyModel(), join(parent, "onnx"))).rejects.toMatchObject(refused);
    await expect(exportGguf(tinyModel(), join(parent, "out.gguf"))).rejects.toMatchObject(refused);
    await expect(exportResumably(tinyModel(), join(parent, "resumed"), {})).rejects.toMatchObject(refused);
    expect(await readdir(parent)).toEqual([]);
  } finally {
    process.constrainedMemory = constrainedMemory;
  }
});

test("an export that can be resumed needs room for what is not kept yet", async () => {
  const parent = await temporaryDirectory();
  const { spec, ...rest } = tinyModel();
  const layers = spec.layers.map((layer) => ({ ...layer, neurons: 2 ** 27 }));
  const model = { ...rest, spec: { ...spec, hiddenSize: 2 ** 18, layers } };
  await expect(exportResumably(model, join(parent, "out"), {})).rejects.toMatchObject({
    code: "OUTPUT_FAILED",
  });
  expect(await readdir(parent)).toEqual([]);
  const shard = { file: "output/a", bytes: Number.MAX_SAFE_INTEGER, sha256: "0".repeat(64), seconds: 0 };
  const manifest = { format: "gprune-run", version: 1, facts: {}, written: {}, entries: { a: shard } };
  await mkdir(join(parent, "out.run"));
  await writeFile(join(parent, "out.run", "manifest.json"), JSON.stringify(manifest));
  // The disk is no reason any more, but the largest matrix of a layer is too large for any memory.
  await expect(exportResumably(model, join(parent, "out"), {})).rejects.toMatchObject({
    code: "OUT_OF_MEMORY",
  });
});
