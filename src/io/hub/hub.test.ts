import { lstat, mkdir, readdir, readFile, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { suiteDirectory } from "../../../test/directories.ts";
import { COMMIT, etagOf, MockHub } from "../../../test/mock_hub.ts";
import { type MockFile, TOKEN } from "../../../test/mock_repo.ts";
import type { ProgressEvent } from "../../base/progress.ts";
import { parseHubAddress } from "./address.ts";
import { type HubOptions, hubFile, hubModelDirectory } from "./hub.ts";

let hub: MockHub;
const root = suiteDirectory("hub");
let home: string;
let homes = 0;

beforeAll(async () => {
  hub = await MockHub.start();
});
beforeEach(() => {
  hub.reset();
  home = join(root(), `${homes++}`);
});
afterAll(async () => {
  await hub.close();
});

const CARRIED = ["tokenizer.json", "generation_config.json"];
const text = (content: string): MockFile => ({ bytes: Buffer.from(content) });
/** 200 000 bytes without a short period. */
const WEIGHTS: MockFile = { bytes: Uint8Array.from({ length: 200_000 }, (_, i) => (i * i) >> 7), lfs: true };
const SHARD: MockFile = { bytes: Buffer.from("second shard"), lfs: true };
const FILES = new Map([
  ["config.json", text("{}")],
  ["tokenizer.json", text("tokenizer")],
  ["model.safetensors", WEIGHTS],
  ["pytorch_model.bin", text("pickle")],
  ["README.md", text("card")],
]);

function addModel(
  files: ReadonlyMap<string, MockFile> = FILES,
  more: { readonly gated?: boolean } = {},
): void {
  hub.add({ name: "models/org/name", files, ...more });
}

function fetchModel(options: HubOptions = hub.options(home), name = "hf://org/name"): Promise<string> {
  return hubModelDirectory(parseHubAddress(name)!, CARRIED, options);
}

async function holdsWeights(directory: string): Promise<boolean> {
  return (await readFile(join(directory, "model.safetensors"))).equals(WEIGHTS.bytes);
}

function offline(): HubOptions {
  return hub.options(home, { HF_HUB_OFFLINE: "1" });
}

/** The requests so far, in order: `HEAD name`, `GET name`. */
function files(): readonly string[] {
  return hub.seen
    .filter(({ path, server }) => path.includes("/resolve/") && server === "hub")
    .map(({ method, path }) => `${method} ${path.split("/").at(-1)}`);
}

describe("a model", () => {
  test("comes with files of names that match a pattern and are safe as paths", async () => {
    const names = ["t/b.jinja", "t/a.jinja", "t/../evil.jinja", "t/x.txt", "u/c.jinja"];
    addModel(new Map([...FILES, ...names.map((name) => [name, text(name)] as const)]));
    const wanted = ["tokenizer.json", /^t\/.*\.jinja$/, "README.md"];
    const directory = await hubModelDirectory(parseHubAddress("hf://org/name")!, wanted, hub.options(home));
    expect((await readdir(directory)).sort()).toEqual([
      "README.md",
      "config.json",
      "model.safetensors",
      "t",
      "tokenizer.json",
    ]);
    expect((await readdir(join(directory, "t"))).sort()).toEqual(["a.jinja", "b.jinja"]);
  });

  test("is fetched into the cache of huggingface_hub, needed files only, weights last", async () => {
    addModel();
    const events: ProgressEvent[] = [];
    const directory = await fetchModel({ ...hub.options(home), onProgress: (event) => events.push(event) });
    const cache = join(home, "hub", "models--org--name");
    expect(directory).toBe(join(cache, "snapshots", COMMIT));
    expect((await readdir(directory)).sort()).toEqual(["config.json", "model.safetensors", "tokenizer.json"]);
    expect(await readlink(join(directory, "model.safetensors"))).toBe(`../../blobs/${etagOf(WEIGHTS)}`);
    expect(await holdsWeights(directory)).toBe(true);
    expect(await readFile(join(cache, "refs", "main"), "utf8")).toBe(COMMIT);
    expect((await readdir(join(cache, "blobs"))).sort()).toEqual(
      ["config.json", "model.safetensors", "tokenizer.json"].map((name) => etagOf(FILES.get(name)!)).sort(),
    );
    expect(files().at(-1)).toBe("GET model.safetensors");
    const total = 2 + 9 + 200_000;
    expect(events.at(-1)).toMatchObject({ stage: "download org/name", done: total, total, unit: "bytes" });
    expect(events.every(({ done }, i) => done >= (events[i - 1]?.done ?? 0))).toBe(true);
  });

  test("in shards brings those that the index names", async () => {
    const index = { weight_map: { a: "model-00001.safetensors", b: "model-00002.safetensors" } };
    const sharded = new Map([
      ["config.json", text("{}")],
      ["model.safetensors.index.json", text(JSON.stringify(index))],
      ["model-00001.safetensors", WEIGHTS],
      ["model-00002.safetensors", SHARD],
      ["model-00003.safetensors", SHARD],
    ]);
    addModel(sharded);
    const directory = await fetchModel();
    expect((await readdir(directory)).sort()).toEqual([...sharded.keys()].slice(0, 4).sort());
    expect(await fetchModel(offline())).toBe(directory);
    await rm(join(directory, "model-00002.safetensors"));
    await expect(fetchModel(offline())).rejects.toThrow("expected model-00002.safetensors in ");
  });

  test("that is there is not fetched again, and asked for only when its revision may have moved", async () => {
    addModel();
    const directory = await fetchModel();
    hub.seen.length = 0;
    expect(await fetchModel()).toBe(directory);
    expect(hub.seen.map(({ path }) => path)).toEqual(["/api/models/org/name/revision/main"]);
    hub.seen.length = 0;
    expect(await fetchModel(hub.options(home), `org/name@${COMMIT}`)).toBe(directory);
    expect(hub.seen).toEqual([]);
  });

  test("of a new commit shares the blobs that stayed", async () => {
    addModel();
    await fetchModel();
    hub.seen.length = 0;
    const commit = "f".repeat(40);
    const changed = new Map([...FILES, ["config.json", text('{"a": 1}')] as const]);
    hub.add({ name: "models/org/name", files: changed, commit });
    expect(await fetchModel()).toBe(join(home, "hub", "models--org--name", "snapshots", commit));
    expect(files().filter((line) => line.startsWith("GET"))).toEqual(["GET config.json"]);
  });

  /** A snapshot with configuration and weights, as AutoModelForCausalLM.from_pretrained leaves it. */
  async function fillAsPython(): Promise<string> {
    const cache = join(home, "hub", "models--org--name");
    const snapshot = join(cache, "snapshots", COMMIT);
    for (const place of ["blobs", "refs", `snapshots/${COMMIT}`])
      await mkdir(join(cache, place), { recursive: true });
    await writeFile(join(cache, "refs", "main"), COMMIT);
    for (const name of ["config.json", "model.safetensors"]) {
      await writeFile(join(cache, "blobs", etagOf(FILES.get(name)!)), FILES.get(name)!.bytes);
      await symlink(`../../blobs/${etagOf(FILES.get(name)!)}`, join(snapshot, name));
    }
    return snapshot;
  }

  test("in a cache that Python filled is used as it is", async () => {
    const snapshot = await fillAsPython();
    expect(await fetchModel(offline())).toBe(snapshot);
    addModel();
    expect(await fetchModel()).toBe(snapshot);
    expect(files()).toEqual(["HEAD tokenizer.json", "GET tokenizer.json"]);
  });

  test("at a commit that Python filled without the tokenizer gets it", async () => {
    const snapshot = await fillAsPython();
    const name = `org/name@${COMMIT}`;
    expect(await fetchModel(offline(), name)).toBe(snapshot);
    addModel();
    expect(await fetchModel(hub.options(home), name)).toBe(snapshot);
    expect(files()).toEqual(["HEAD tokenizer.json", "GET tokenizer.json"]);
  });

  test("without safetensors is refused with what there is", async () => {
    addModel(
      new Map([
        ["config.json", text("{}")],
        ["pytorch_model.bin", text("pickle")],
      ]),
    );
    await expect(fetchModel()).rejects.toMatchObject({
      code: "UNSUPPORTED",
      message:
        "hf://org/name: expected model.safetensors or model.safetensors.index.json, got a repository without it",
    });
    addModel(new Map([["x.Q4_0.gguf", WEIGHTS]]));
    await expect(fetchModel()).rejects.toMatchObject({ hint: "Choose one: hf://org/name/x.Q4_0.gguf." });
  });
});

describe("one file", () => {
  const address = parseHubAddress("hf://datasets/org/name@refs/convert/parquet/data/a.txt")!;
  const fetchFile = (options: HubOptions): Promise<string> =>
    hubFile({ ...address, file: "data/a.txt" }, options);

  test("keeps its folder, and its revision becomes a reference", async () => {
    hub.add({ name: "datasets/org/name", files: new Map([["data/a.txt", text("some text")]]) });
    const path = await fetchFile(hub.options(home));
    const cache = join(home, "hub", "datasets--org--name");
    expect(path).toBe(join(cache, "snapshots", COMMIT, "data", "a.txt"));
    expect(await readlink(path)).toMatch(/^\.\.\/\.\.\/\.\.\/blobs\/[0-9a-f]{40}$/);
    expect(await readFile(path, "utf8")).toBe("some text");
    expect(await readFile(join(cache, "refs", "refs", "convert", "parquet"), "utf8")).toBe(COMMIT);
    expect(await fetchFile(offline())).toBe(path);
  });

  test("that is not there", async () => {
    hub.add({ name: "datasets/org/name", files: new Map() });
    await expect(fetchFile(hub.options(home))).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: expect.stringMatching(
        /data\/a\.txt: expected an answer from .*, got HTTP status 404 \(EntryNotFound\)$/,
      ),
    });
  });
});

describe("a download", () => {
  test("goes on where the connection broke", async () => {
    addModel();
    hub.faults.cutAfter = [50_000, 70_000];
    const directory = await fetchModel();
    expect(await holdsWeights(directory)).toBe(true);
    const ranges = hub.seen.filter(
      ({ server, path }) => server === "storage" && path.includes("safetensors"),
    );
    expect(ranges.map(({ headers }) => headers.range)).toEqual([undefined, "bytes=50000-", "bytes=120000-"]);
  });

  test("asks again where the list of files broke off, a few times", async () => {
    addModel();
    hub.faults.cutInfoAfter = [0, 10, 20];
    expect(await holdsWeights(await fetchModel())).toBe(true);
    hub.faults.cutInfoAfter = [10, 10, 10, 10, 10];
    await expect(fetchModel(hub.options(`${home}-2`))).rejects.toMatchObject({ code: "NETWORK" });
    expect(hub.faults.cutInfoAfter).toEqual([10]);
    hub.faults.statuses = [503, 503];
    await expect(fetchModel(hub.options(`${home}-3`))).resolves.toContain("models--org--name");
    hub.faults.statuses = [503, 503, 503];
    hub.faults.cutInfoAfter = [10];
    await expect(fetchModel(hub.options(`${home}-4`))).rejects.toMatchObject({ code: "NETWORK" });
  });

  test("that was given up is taken up by the next run", async () => {
    addModel(new Map([...FILES].filter(([name]) => name !== "tokenizer.json")));
    hub.faults.cutAfter = [60_000, 0, 0, 0, 0];
    await expect(fetchModel()).rejects.toMatchObject({ code: "NETWORK" });
    const blobs = join(home, "hub", "models--org--name", "blobs");
    expect(await readdir(blobs)).toContain(`${etagOf(WEIGHTS)}.gprune.incomplete`);
    hub.seen.length = 0;
    await fetchModel();
    expect(hub.seen.find(({ server }) => server === "storage")?.headers.range).toBe("bytes=60000-");
    expect((await readdir(blobs)).filter((name) => name.endsWith(".incomplete"))).toEqual([]);
  });

  test("starts over where ranges are ignored", async () => {
    addModel();
    hub.faults.noRanges = true;
    hub.faults.cutAfter = [50_000];
    const directory = await fetchModel();
    expect(await holdsWeights(directory)).toBe(true);
  });

  test("of other bytes or another size than announced is thrown away", async () => {
    addModel();
    hub.faults.damage = true;
    await expect(fetchModel()).rejects.toMatchObject({
      code: "BAD_FILE",
      message: expect.stringContaining(`model.safetensors: expected SHA-256 ${etagOf(WEIGHTS)}, got `),
    });
    hub.faults.damage = false;
    hub.faults.sizeError = 3;
    await expect(fetchModel()).rejects.toThrow("model.safetensors: expected 200003 bytes, got 200000");
    hub.faults.sizeError = -3;
    await expect(fetchModel()).rejects.toThrow("model.safetensors: expected 199997 bytes, got 200000");
    const cache = join(home, "hub", "models--org--name");
    expect((await readdir(join(cache, "blobs"))).length).toBe(2);
    await expect(lstat(join(cache, "refs", "main"))).rejects.toThrow("ENOENT");
  });
});

describe("names from the hub never become paths elsewhere", () => {
  test("hostile files are not asked for", async () => {
    const hostile = ["../../evil.json", "/etc/evil", "..\\evil", "C:evil", "sub/../../../evil"];
    addModel(new Map([...FILES, ...hostile.map((name) => [name, text("evil")] as const)]));
    const directory = await fetchModel();
    expect(await readdir(directory)).toHaveLength(3);
    expect(files().filter((line) => line.includes("evil"))).toEqual([]);
  });

  test("nor hostile shards, commits and hashes", async () => {
    const index = text(JSON.stringify({ weight_map: { a: "../../evil.safetensors" } }));
    addModel(
      new Map([
        ["config.json", text("{}")],
        ["model.safetensors.index.json", index],
      ]),
    );
    await expect(fetchModel()).rejects.toThrow("expected names of .safetensors files, got ");
    addModel();
    hub.faults.etag = "../../../evil";
    await expect(fetchModel()).rejects.toThrow(
      "hf://org/name/tokenizer.json: expected headers with commit, ETag and size",
    );
    hub.faults.commit = "../../../evil";
    await expect(fetchModel()).rejects.toThrow("hf://org/name: expected a commit and a list of files");
    expect(await readdir(root())).not.toContain("evil");
  });
});

describe("the token", () => {
  test("opens gated models and goes to the hub alone", async () => {
    addModel(FILES, { gated: true });
    await fetchModel(hub.options(home, { HF_TOKEN: TOKEN }));
    const of = (server: string): readonly unknown[] => [
      ...new Set(
        hub.seen.filter((seen) => seen.server === server).map(({ headers }) => headers.authorization),
      ),
    ];
    expect(of("hub")).toEqual([`Bearer ${TOKEN}`]);
    expect(of("storage")).toEqual([undefined]);
  });

  test("is asked for when it is missing, and never shown when it is wrong", async () => {
    addModel(FILES, { gated: true });
    await expect(fetchModel()).rejects.toMatchObject({
      code: "FORBIDDEN",
      hint: expect.stringMatching(/accept its licence .* set HF_TOKEN/),
    });
    const error = await fetchModel(hub.options(home, { HF_TOKEN: "hf_wrong" })).catch(
      (thrown: Error) => thrown,
    );
    expect(error).toMatchObject({
      code: "FORBIDDEN",
      hint: expect.stringContaining("check that your token"),
    });
    expect(JSON.stringify([error, String(error)])).not.toContain("hf_wrong");
  });
});

describe("failures", () => {
  test("that pass are waited out, as long as the hub says", async () => {
    addModel();
    const options = hub.options(home);
    hub.faults.statuses = [503, 429];
    hub.faults.statusHeaders = { "retry-after": "7" };
    await fetchModel(options);
    expect(options.pauses).toEqual([7000, 7000]);
  });

  test("that stay are reported after four attempts; long waits at once", async () => {
    addModel();
    const options = hub.options(home);
    hub.faults.statuses = [500, 500, 500, 500];
    await expect(fetchModel(options)).rejects.toMatchObject({
      code: "NETWORK",
      message: expect.stringMatching(
        /^hf:\/\/org\/name: expected an answer from 127\.0\.0\.1:\d+, got HTTP status 500$/,
      ),
    });
    expect(options.pauses).toEqual([500, 1000, 2000]);
    hub.faults.statuses = [429];
    hub.faults.statusHeaders = { "retry-after": "3600" };
    await expect(fetchModel()).rejects.toMatchObject({
      code: "NETWORK",
      hint: expect.stringContaining("later"),
    });
  });

  test("to reach the hub leave the cache, if it has the model", async () => {
    addModel();
    const directory = await fetchModel();
    const nowhere = hub.options(home, { HF_ENDPOINT: "http://127.0.0.1:1" });
    expect(await fetchModel(nowhere)).toBe(directory);
    await expect(
      fetchModel(hub.options(join(home, "empty"), { HF_ENDPOINT: "http://127.0.0.1:1" })),
    ).rejects.toThrow("hf://org/name: expected an answer from the hub, got ");
  });

  test("of unknown names, and redirects to other protocols", async () => {
    await expect(fetchModel()).rejects.toMatchObject({
      code: "NOT_FOUND",
      hint: expect.stringContaining("private"),
    });
    addModel();
    await expect(fetchModel(hub.options(home), "org/name@v9")).rejects.toThrow("(RevisionNotFound)");
    hub.faults.redirect = "file:///etc/passwd";
    await expect(fetchModel()).rejects.toThrow("expected an address with http: or https:");
  });
});

test("offline, what is missing is named and nobody is asked", async () => {
  addModel();
  await expect(fetchModel(offline())).rejects.toMatchObject({
    code: "NOT_FOUND",
    message: `hf://org/name: expected config.json, model.safetensors in ${home}/hub/models--org--name, got none`,
    hint: expect.stringContaining("HF_HUB_OFFLINE is set"),
  });
  expect(hub.seen).toEqual([]);
});
