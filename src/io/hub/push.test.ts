import { truncateSync } from "node:fs";
import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { suiteDirectory } from "../../../test/directories.ts";
import { etagOf, MockHub } from "../../../test/mock_hub.ts";
import { TOKEN } from "../../../test/mock_repo.ts";
import type { ProgressEvent } from "../../base/progress.ts";
import { parseHubAddress } from "./address.ts";
import { hubModelDirectory } from "./hub.ts";
import { type PushOptions, pushDirectory } from "./push.ts";

let hub: MockHub;
const root = suiteDirectory("push");
let directory: string;
const WEIGHTS = Buffer.from(Uint8Array.from({ length: 2_500_000 }, (_, i) => (i * i) >> 9));
const OID = etagOf({ bytes: WEIGHTS, lfs: true });

beforeAll(async () => {
  hub = await MockHub.start();
  directory = join(root(), "out");
  await mkdir(join(directory, "onnx"), { recursive: true });
  await writeFile(join(directory, "config.json"), "{}");
  await writeFile(join(directory, "model.safetensors"), WEIGHTS);
  await writeFile(join(directory, "README.md"), "card");
  await writeFile(join(directory, "onnx", "note.txt"), "note");
  await writeFile(join(directory, ".env"), "PASSWORD=1");
});
beforeEach(() => hub.reset());
afterAll(async () => {
  await hub.close();
});

function options(more: Readonly<Record<string, string>> = {}): PushOptions {
  return hub.options(join(root(), "home"), { HF_TOKEN: TOKEN, ...more });
}

function filesOf(name: string): Record<string, string> {
  const files = [...hub.repos.get(name)!.files];
  return Object.fromEntries(
    files.map(([path, { bytes, lfs }]) => [path, lfs ? `lfs ${bytes.length}` : `${bytes}`]),
  );
}

test("makes the repository, stores large files, and commits everything but hidden files", async () => {
  const events: ProgressEvent[] = [];
  const pushed = await pushDirectory(directory, "org/new", {
    ...options(),
    onProgress: (event) => events.push(event),
  });
  const { commit } = hub.repos.get("models/org/new")!;
  expect(pushed).toEqual({ url: `${hub.endpoint}/org/new`, commit });
  expect(filesOf("models/org/new")).toEqual({
    "README.md": "card",
    "config.json": "{}",
    "model.safetensors": "lfs 2500000",
    "onnx/note.txt": "note",
  });
  expect(hub.uploads.created).toEqual([{ type: "model", organization: "org", name: "new" }]);
  expect(hub.uploads.verified).toEqual([OID]);
  expect(events.at(-1)).toMatchObject({
    stage: "upload org/new",
    done: 2_500_000,
    total: 2_500_000,
    unit: "bytes",
  });
  const upload = hub.seen.find(({ method }) => method === "PUT")!;
  expect(upload.headers).toMatchObject({ "content-length": "2500000", "x-storage": "yes" });
  expect(upload.headers).not.toHaveProperty("authorization");
  expect(upload.headers).not.toHaveProperty("transfer-encoding");
  const pulled = await hubModelDirectory(parseHubAddress("org/new")!, [], options());
  expect((await readFile(join(pulled, "model.safetensors"))).equals(WEIGHTS)).toBe(true);
});

test("again uploads no large file, and keeps what is only there", async () => {
  hub.add({ name: "models/org/old", files: new Map([["LICENSE", { bytes: Buffer.from("text") }]]) });
  await pushDirectory(directory, "hf://org/old", options());
  expect(hub.uploads.created).toEqual([]);
  hub.seen.length = 0;
  await pushDirectory(directory, "hf://org/old", options());
  expect(hub.seen.filter(({ method }) => method === "PUT")).toEqual([]);
  expect(filesOf("models/org/old")).toHaveProperty("LICENSE");
});

test("sends parts when the storage wants parts, and sends a part that failed again", async () => {
  hub.uploads.partSize = 1_000_000;
  hub.uploads.failures = 1;
  await pushDirectory(directory, "org/parts", options());
  expect(hub.uploads.stored.get(OID)?.equals(WEIGHTS)).toBe(true);
  const parts = hub.seen
    .filter(({ method }) => method === "PUT")
    .map(({ headers }) => headers["content-length"]);
  expect(parts).toEqual(["1000000", "1000000", "1000000", "500000"]);
});

test("says so, and does not try again, when a file shrinks while it is sent", async () => {
  const shrinking = join(root(), "shrinking");
  await mkdir(shrinking);
  const file = join(shrinking, "model.gguf");
  await writeFile(file, WEIGHTS);
  const onProgress = ({ done }: ProgressEvent): void => {
    if (done > 0) truncateSync(file);
  };
  const { pauses, ...hubOptions } = hub.options(join(root(), "home"), { HF_TOKEN: TOKEN });
  await expect(pushDirectory(shrinking, "org/gguf", { ...hubOptions, onProgress })).rejects.toMatchObject({
    code: "BAD_FILE",
    message: expect.stringContaining(`${file}: expected more data, got the end of the file`),
  });
  expect(pauses).toEqual([]);
});

test("commits an empty file as it is, since the storage takes none", async () => {
  const other = join(root(), "with-empty");
  await mkdir(other);
  await writeFile(join(other, "model.gguf"), WEIGHTS);
  await writeFile(join(other, "empty.safetensors"), "");
  await pushDirectory(other, "org/gguf", options());
  expect(filesOf("models/org/gguf")).toEqual({ "model.gguf": "lfs 2500000", "empty.safetensors": "" });
});

test("a directory of GGUF files needs nothing else", async () => {
  const gguf = join(root(), "gguf");
  await mkdir(gguf);
  await writeFile(join(gguf, "model.Q4_K.gguf"), WEIGHTS);
  await pushDirectory(gguf, "org/gguf", options());
  expect(filesOf("models/org/gguf")).toEqual({ "model.Q4_K.gguf": "lfs 2500000" });
});

test("a branch is made when there is none", async () => {
  const { url } = await pushDirectory(directory, "org/new", { ...options(), revision: "v2/x" });
  expect(url).toBe(`${hub.endpoint}/org/new/tree/v2%2Fx`);
  expect(hub.uploads.branches).toEqual(["v2/x"]);
  await pushDirectory(directory, "org/new", { ...options(), revision: "v2/x" });
});

test("private creates a private repository and refuses a public one", async () => {
  await pushDirectory(directory, "org/secret", { ...options(), private: true });
  expect(hub.uploads.created).toMatchObject([{ visibility: "private" }]);
  await pushDirectory(directory, "org/secret", { ...options(), private: true });
  hub.add({ name: "models/org/open", files: new Map() });
  await expect(pushDirectory(directory, "org/open", { ...options(), private: true })).rejects.toThrow(
    "hf://org/open: expected a private repository, got a public one",
  );
  expect(filesOf("models/org/open")).toEqual({});
});

describe("nothing is sent", () => {
  test("of a directory without a model, or with links", async () => {
    const other = join(root(), "other");
    await mkdir(other);
    await writeFile(join(other, "config.json"), "{}");
    await expect(pushDirectory(other, "org/new", options())).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: `${other}: expected a directory that gprune wrote, got no model`,
    });
    await expect(pushDirectory(join(root(), "none"), "org/new", options())).rejects.toThrow(
      "expected a directory",
    );
    await writeFile(join(other, "model.safetensors"), "");
    await symlink("/etc/passwd", join(other, "notes"));
    await expect(pushDirectory(other, "org/new", options())).rejects.toThrow("notes: expected a plain file");
    expect(hub.seen).toEqual([]);
  });

  test("without a token, offline, or to what is no repository", async () => {
    const anonymous = hub.options(join(root(), "home"));
    await expect(pushDirectory(directory, "org/new", anonymous)).rejects.toMatchObject({ code: "FORBIDDEN" });
    await expect(pushDirectory(directory, "org/new", options({ HF_HUB_OFFLINE: "1" }))).rejects.toThrow(
      "expected network access, got HF_HUB_OFFLINE",
    );
    for (const name of ["name", "org/name@v1", "hf://datasets/org/name/x", "hf://org/name/x.gguf", "../x"]) {
      await expect(pushDirectory(directory, name, options())).rejects.toMatchObject({ code: "BAD_ARGUMENT" });
    }
    expect(hub.seen).toEqual([]);
  });

  test("with a token that may only read, and the error says what is missing", async () => {
    const hint = expect.stringMatching(/^Your token may not write there: .* token with write access/);
    hub.faults.statuses = [404, 403];
    await expect(pushDirectory(directory, "org/new", options())).rejects.toMatchObject({
      code: "FORBIDDEN",
      message: expect.stringMatching(/^hf:\/\/org\/new: expected an answer from .*, got HTTP status 403$/),
      hint,
    });
    hub.add({ name: "models/org/old", files: new Map() });
    for (const statuses of [[401], [200, 401], [200, 403]]) {
      hub.faults.statuses = statuses;
      await expect(pushDirectory(directory, "org/old", options())).rejects.toMatchObject({ hint });
    }
    expect(filesOf("models/org/old")).toEqual({});
  });

  test("to addresses of other protocols, and no token to other hosts", async () => {
    hub.uploads.href = "file:///tmp/x";
    await expect(pushDirectory(directory, "org/new", options())).rejects.toThrow(
      "expected an address with http: or https:",
    );
    await expect(
      pushDirectory(directory, "org/new", options({ HF_TOKEN: "hf_wrong" })),
    ).rejects.toMatchObject({
      code: "FORBIDDEN",
    });
  });
});
