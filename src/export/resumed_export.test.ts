import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { suiteDirectory } from "../../test/directories.ts";
import { hashes } from "../../test/run_cli.ts";
import { writeTinyCheckpoint } from "../../test/tiny_checkpoint.ts";
import { openModel } from "../model/checkpoint/checkpoint.ts";
import type { Model } from "../model/model.ts";
import { exportHuggingFace } from "./hf.ts";
import { exportResumably } from "./resumed_export.ts";

const SHARDS = { maxShardBytes: 20_000 };

const root = suiteDirectory("exports");
let model: Model;
beforeAll(async () => {
  model = await openModel(await writeTinyCheckpoint(join(root(), "model")));
});

test("an export that is cut off after any shard goes on, reads nothing twice, and ends with the same bytes", async () => {
  const plain = join(root(), "plain");
  await exportHuggingFace(model, plain, SHARDS);
  const names = await readdir(plain);
  const expected = await hashes(plain, names);
  expect(names.length).toBeGreaterThan(6);
  const output = join(root(), "made", "out");
  let attempts = 0;
  for (let ended = false; !ended; attempts++) {
    const stop = new AbortController();
    const onProgress = ({ stage }: { readonly stage: string }): void => {
      if (stage === "save") stop.abort("SIGINT");
    };
    ended = await exportResumably(model, output, { ...SHARDS, signal: stop.signal, onProgress }).then(
      () => true,
      (error: unknown) => {
        expect(error).toMatchObject({ code: "INTERRUPTED" });
        return false;
      },
    );
    if (!ended) expect(await readdir(join(root(), "made"))).toEqual(["out.run"]);
  }
  expect(attempts).toBeGreaterThan(3);
  expect(await hashes(output, names)).toEqual(expected);
  expect(await readdir(join(root(), "made"))).toEqual(["out"]);
});

test.each([
  [{ ...SHARDS, dtype: "bf16" }, "export.dtype"],
  [{ maxShardBytes: 22_000 }, "export.maxShardBytes"],
] as const)("shards made otherwise are refused: %j", async (others, named) => {
  const output = join(root(), named);
  const signal = AbortSignal.abort("SIGINT");
  const stop = new AbortController();
  const onProgress = ({ stage }: { readonly stage: string }): void => {
    if (stage === "save") stop.abort("SIGINT");
  };
  await expect(exportResumably(model, output, { signal })).rejects.toMatchObject({ code: "INTERRUPTED" });
  const options = { ...SHARDS, signal: stop.signal, onProgress };
  await expect(exportResumably(model, output, options)).rejects.toMatchObject({ code: "INTERRUPTED" });
  await expect(exportResumably(model, output, others)).rejects.toMatchObject({
    code: "BAD_CHECKPOINT",
    message: expect.stringContaining(named),
  });
});
