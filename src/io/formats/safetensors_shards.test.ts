import { createHash } from "node:crypto";
import { chmod, mkdir, readdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { float32File } from "../../../test/safetensors_builder.ts";
import { openCheckpointTensors, shardNames } from "./safetensors_shards.ts";

/** A directory with these files: bytes and strings as they are, other values as JSON. */
async function directoryOf(files: Readonly<Record<string, Uint8Array | string | object>>): Promise<string> {
  const directory = await temporaryDirectory();
  for (const [name, content] of Object.entries(files)) {
    const raw = typeof content === "string" || content instanceof Uint8Array;
    await writeFile(join(directory, name), raw ? content : JSON.stringify(content));
  }
  return directory;
}

const INDEX = "model.safetensors.index.json";
const SHARD_1 = "model-00001-of-00002.safetensors";
const SHARD_2 = "model-00002-of-00002.safetensors";

const SHARDED = {
  [SHARD_1]: float32File({ a: [1, 2], b: [3] }),
  [SHARD_2]: float32File({ c: [4, 5, 6], unlisted: [7] }),
  [INDEX]: { metadata: { total_size: 24 }, weight_map: { c: SHARD_2, a: SHARD_1, b: SHARD_1 } },
};

function withWeightMap(weightMap: unknown): Readonly<Record<string, Uint8Array | string | object>> {
  return { ...SHARDED, [INDEX]: { weight_map: weightMap } };
}

describe("a checkpoint directory", () => {
  test("that is not there, or may not be read, is said to be so", async () => {
    const missing = join(await temporaryDirectory(), "none");
    await expect(openCheckpointTensors(missing)).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: `${missing}: expected a checkpoint directory, got no such file or directory`,
    });
    if (process.getuid?.() === 0) return;
    const secret = await directoryOf({});
    await chmod(secret, 0o100);
    await expect(openCheckpointTensors(secret)).rejects.toMatchObject({ code: "FORBIDDEN" });
  });

  test("in one file, which goes before an index", async () => {
    const directory = await directoryOf({
      "model.safetensors": float32File({ x: [1] }),
      [INDEX]: "not read",
    });
    const tensors = await openCheckpointTensors(directory);
    expect(tensors.names).toEqual(["x"]);
    await tensors.close();
  });

  test("in shards", async () => {
    const directory = await directoryOf(SHARDED);
    expect(await shardNames(join(directory, INDEX))).toEqual([SHARD_1, SHARD_2]);
    const tensors = await openCheckpointTensors(directory);
    expect(tensors.names).toEqual(["a", "b", "c"]);
    expect(tensors.info("c")).toEqual({ dtype: "F32", shape: [3] });
    expect(tensors.info("unlisted")).toBeUndefined();
    expect((await tensors.read("a")).data).toEqual(Float32Array.of(1, 2));
    expect((await tensors.read("c", { start: 1, end: 3 })).data).toEqual(Float32Array.of(5, 6));
    await expect(tensors.read("unlisted")).rejects.toMatchObject({ code: "BAD_TENSOR" });
    await tensors.close();
  });

  test("in the layout of the Hugging Face cache, links into blobs", async () => {
    const directory = join(await temporaryDirectory(), "models--org--name");
    const snapshot = join(directory, "snapshots", "0123");
    await mkdir(snapshot, { recursive: true });
    await mkdir(join(directory, "blobs"));
    for (const [name, content] of Object.entries(SHARDED)) {
      const bytes = content instanceof Uint8Array ? content : JSON.stringify(content);
      const blob = createHash("sha256").update(bytes).digest("hex");
      await writeFile(join(directory, "blobs", blob), bytes);
      await symlink(`../../blobs/${blob}`, join(snapshot, name));
    }
    const tensors = await openCheckpointTensors(snapshot);
    expect((await tensors.read("c")).data).toEqual(Float32Array.of(4, 5, 6));
    await tensors.close();
  });
});

test.each(Object.keys(SHARDED))("a link from %s out of the directory is refused", async (name) => {
  const directory = await directoryOf(SHARDED);
  await rename(join(directory, name), `${directory}.elsewhere`);
  onTestFinished(() => rm(`${directory}.elsewhere`));
  await symlink(`${directory}.elsewhere`, join(directory, name));
  await expect(openCheckpointTensors(directory)).rejects.toMatchObject({
    code: "BAD_FILE",
    message: expect.stringContaining(`${name}: expected a file inside the directory, got a link to`),
  });
});

describe("directories that are no checkpoint", () => {
  test.each<[string, Readonly<Record<string, Uint8Array | string | object>>, string, RegExp]>([
    ["empty", {}, "NOT_FOUND", /expected model\.safetensors/],
    ["another safetensors file", { "adapter.safetensors": "" }, "NOT_FOUND", /expected model\.safetensors/],
    ["pickled", { "config.json": {}, "pytorch_model.bin": "" }, "UNSUPPORTED", /pytorch_model\.bin/],
    ["pickled by hand", { "model.pt": "" }, "UNSUPPORTED", /model\.pt/],
    ["a missing shard", { [INDEX]: SHARDED[INDEX], [SHARD_1]: SHARDED[SHARD_1] }, "NOT_FOUND", /00002-of/],
    ["a broken shard", { ...SHARDED, [SHARD_2]: "broken shard" }, "BAD_FILE", /00002-of.*header/],
    ["an index that is no JSON", { ...SHARDED, [INDEX]: "{" }, "BAD_FILE", /index\.json: expected JSON/],
    ["an index of null", { ...SHARDED, [INDEX]: "null" }, "BAD_FILE", /weight_map/],
    ["an index without weight_map", { ...SHARDED, [INDEX]: {} }, "BAD_FILE", /weight_map/],
    ["a weight_map that is a list", withWeightMap([SHARD_1]), "BAD_FILE", /weight_map/],
    [
      "a tensor that is in no shard",
      withWeightMap({ a: SHARD_1, z: SHARD_1 }),
      "BAD_FILE",
      /expected the tensor z in/,
    ],
    [
      "a tensor that is elsewhere",
      withWeightMap({ a: SHARD_2, b: SHARD_1 }),
      "BAD_FILE",
      /expected the tensor a in .*00002/,
    ],
    ["two entries of a name", { ...SHARDED, [INDEX]: `{"weight_map":{"a":1,"a":1}}` }, "BAD_FILE", /once/],
    [
      "a tensor in two shards",
      { ...SHARDED, [SHARD_2]: float32File({ a: [9], c: [4] }) },
      "BAD_FILE",
      /expected the tensor a in one shard/,
    ],
  ])("%s", async (_, files, code, message) => {
    const opening = openCheckpointTensors(await directoryOf(files));
    await expect(opening).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  test.each([
    [
      "misses a shard",
      { [INDEX]: SHARDED[INDEX], [`${SHARD_2}.part`]: "", [SHARD_1]: SHARDED[SHARD_1] },
      /^The index names this file/,
    ],
    [
      "misses the index",
      { [SHARD_1]: SHARDED[SHARD_1] },
      new RegExp(`^It has ${SHARD_1}: the download is incomplete`),
    ],
    ["has half a file", { "model.safetensors.incomplete": "" }, /^It has model\.safetensors\.incomplete: /],
  ])("a download that %s is told so", async (_, files, hint) => {
    const opening = openCheckpointTensors(await directoryOf(files as typeof SHARDED));
    await expect(opening).rejects.toMatchObject({ code: "NOT_FOUND", hint: expect.stringMatching(hint) });
  });

  test.each([
    "../model.safetensors",
    "a/../../b.safetensors",
    "sub/model.safetensors",
    "..\\..\\Windows\\x.safetensors",
    "\\\\server\\share\\x.safetensors",
    "/etc/x.safetensors",
    "C:x.safetensors",
    "C:\\x.safetensors",
    "https://example.org/x.safetensors",
    "..safetensors",
    ".safetensors",
    "model.bin",
    "model.safetensors.bin",
    "model.safetensors\0",
    "model\n.safetensors",
    "",
    7,
    null,
    { file: SHARD_1 },
  ])("a shard named %j", async (name) => {
    const opening = openCheckpointTensors(await directoryOf(withWeightMap({ a: name })));
    await expect(opening).rejects.toMatchObject({
      code: "BAD_FILE",
      message: expect.stringContaining("expected names of .safetensors files"),
    });
  });

  test("too many shards", async () => {
    const map = Object.fromEntries(Array.from({ length: 1001 }, (_, i) => [`t${i}`, `m${i}.safetensors`]));
    const directory = await directoryOf(withWeightMap(map));
    for (const act of [openCheckpointTensors, () => shardNames(join(directory, INDEX))]) {
      await expect(act(directory)).rejects.toMatchObject({
        code: "BAD_FILE",
        message: expect.stringContaining("at most 1000 shards, got 1001"),
      });
    }
  });

  test("no directory", async () => {
    const directory = await directoryOf({ file: "" });
    for (const name of ["none", "file"]) {
      await expect(openCheckpointTensors(join(directory, name))).rejects.toMatchObject({ code: "NOT_FOUND" });
    }
  });

  test.skipIf(process.platform !== "linux")("a failure closes what was open", async () => {
    const openFiles = async (): Promise<number> => (await readdir("/proc/self/fd")).length;
    const disagreeing = await directoryOf(withWeightMap({ a: SHARD_1, c: SHARD_2, z: SHARD_1 }));
    const broken = await directoryOf({ ...SHARDED, [SHARD_2]: "broken shard" });
    for (const directory of [disagreeing, broken]) {
      const before = await openFiles();
      for (let i = 0; i < 10; i++) await expect(openCheckpointTensors(directory)).rejects.toThrow();
      expect(await openFiles()).toBeLessThan(before + 10);
    }
  });
});
