import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { openModel } from "../src/index.ts";
import { suiteDirectory } from "./directories.ts";
import { COMMIT, MockHub } from "./mock_hub.ts";
import { type MockFile, TOKEN } from "./mock_repo.ts";
import { parquetOf } from "./parquet_builder.ts";
import { BY_WEIGHTS, type CliResult, type CliRun, startCli } from "./run_cli.ts";
import { writeTinyCheckpoint, writeTinyTexts } from "./tiny_checkpoint.ts";

let hub: MockHub;
const root = suiteDirectory("hub-cli");
let files: Map<string, MockFile>;

beforeAll(async () => {
  hub = await MockHub.start();
  const model = await writeTinyCheckpoint(join(root(), "model"));
  files = new Map(
    await Promise.all(
      (await readdir(model)).map(async (name) => {
        const bytes = await readFile(join(model, name));
        return [name, { bytes, lfs: bytes.length > 100_000 }] as const;
      }),
    ),
  );
});
beforeEach(() => hub.reset());
afterAll(async () => {
  await hub.close();
});

/** Starts the command line with a cache in `home` and this hub. */
function start(
  home: string,
  commandLine: readonly string[],
  more: Readonly<Record<string, string>> = {},
): CliRun {
  return startCli(commandLine, { HF_ENDPOINT: hub.endpoint, HF_HOME: join(root(), home), ...more });
}

function run(...args: Parameters<typeof start>): Promise<CliResult> {
  return start(...args).result;
}

test("models are opened by their names on the hub, and keep them", async () => {
  hub.add({ name: "models/org/tiny", files });
  for (const name of ["hf://org/tiny", "org/tiny", `hf://org/tiny@${COMMIT}`]) {
    const model = await openModel(name, hub.options(join(root(), "open")));
    expect(model.origin).toMatchObject({ name, format: "hf" });
    expect(model.files.map((file) => file.name)).toContain("tokenizer.json");
    await model.weights.close();
  }
});

test("a GGUF file of a repository is fetched alone", async () => {
  const path = join(root(), "tiny.gguf");
  expect(await run("gguf", ["export", join(root(), "model"), "-o", path])).toMatchObject({ code: 0 });
  hub.add({
    name: "models/org/tiny-GGUF",
    files: new Map([["q/tiny.gguf", { bytes: await readFile(path), lfs: true }]]),
  });
  const name = "hf://org/tiny-GGUF/q/tiny.gguf";
  const online = await run("gguf", ["inspect", name, "--json"]);
  expect(JSON.parse(online.stdout)).toMatchObject({ model: name, format: "gguf", layers: 3 });
  expect(await run("gguf", ["inspect", name, "--json"], { HF_HUB_OFFLINE: "1" })).toMatchObject({
    stdout: online.stdout,
  });
  const whole = await run("gguf", ["inspect", "hf://org/tiny-GGUF"]);
  expect(whole.stderr).toContain("hint: Choose one: hf://org/tiny-GGUF/q/tiny.gguf.");
});

test("a directory of the same name goes first; what is nowhere is said to be nowhere", async () => {
  await expect(openModel("org/none", hub.options(join(root(), "none")))).rejects.toMatchObject({
    code: "NOT_FOUND",
    hint: expect.stringMatching(/^There is no local file or directory org\/none either\. /),
  });
  hub.reset();
  await openModel("demo/model", hub.options(join(root(), "none"))).then(({ weights }) => weights.close());
  expect(hub.seen).toEqual([]);
  await expect(openModel("hf://org/tiny/README.md", hub.options(root()))).rejects.toThrow("expected a model");
});

test("prune takes a model from the hub, shows the download, and names the base in the card", async () => {
  hub.add({ name: "models/org/tiny", files });
  const out = join(root(), "out");
  const { code, stderr } = await run("prune", ["prune", "hf://org/tiny", "-o", out, ...BY_WEIGHTS]);
  expect(stderr).toMatch(/^download org\/tiny: \d+\.\d MB\n/);
  expect(code).toBe(0);
  expect(await readFile(join(out, "README.md"), "utf8")).toContain('base_model: "org/tiny"');
  const offline = await run("prune", ["inspect", "org/tiny", "--json"], { HF_HUB_OFFLINE: "1" });
  expect(JSON.parse(offline.stdout)).toMatchObject({ model: "org/tiny", layers: 3 });
});

test("texts and tasks of data sets are read wherever a path may stand", async () => {
  const { stories, code } = await writeTinyTexts(root());
  const lines = (await readFile(code, "utf8")).split("\n").map((line) => JSON.stringify({ body: line }));
  const story = [await readFile(stories, "utf8"), "The end."];
  const rows = parquetOf({ title: ["no", "no"], story });
  const task = JSON.stringify({ query: "1 +", choices: ["1", "2"], gold: 1 });
  hub.add({
    name: "datasets/org/texts",
    files: new Map([
      ["data/stories.parquet", { bytes: rows, lfs: true }],
      ["code.jsonl", { bytes: Buffer.from(lines.join("\n")) }],
      ["task.jsonl", { bytes: Buffer.from(task) }],
    ]),
  });
  hub.add({ name: "models/org/tiny", files });
  const set = "hf://datasets/org/texts";
  const small = ["--samples", "2", "--seq-len", "16", "--method", "none", "--json"];
  const sets = [`stories=${set}/data/stories.parquet#story:2`, `code=${set}/code.jsonl#body`];
  const pruned = await run("texts", [
    "prune",
    "org/tiny",
    "-o",
    join(root(), "cut"),
    ...small,
    "--calib",
    ...sets,
  ]);
  expect(pruned.stderr).toContain("download org/texts: ");
  expect(JSON.parse(pruned.stdout)).toMatchObject({
    calibration: { stories: { windows: 2 }, code: { windows: 2 } },
  });
  const measure = [
    "--seq-len",
    "16",
    "--limit",
    "1",
    "--text",
    sets[1]!,
    "--tasks",
    `sums=${set}/task.jsonl`,
  ];
  const evaluated = await run("texts", ["eval", "org/tiny", "--json", ...measure]);
  expect(JSON.parse(evaluated.stdout)).toMatchObject({
    texts: { code: { windows: 1 } },
    tasks: { sums: { n: 1 } },
  });
  const refused = await run("texts", ["eval", "org/tiny", "--text", "a=hf://datasets/org/texts"]);
  expect(refused.stderr).toMatch(/^error BAD_ARGUMENT: hf:\/\/datasets\/org\/texts: expected /);
});

test("an interrupted download is left for the next one to go on with", async () => {
  hub.add({ name: "models/org/tiny", files });
  hub.faults.stallAfter = 50_000;
  const { child, said, result } = start("interrupted", ["inspect", "org/tiny"]);
  await said("download org/tiny: ");
  const blobs = join(root(), "interrupted", "hub", "models--org--tiny", "blobs");
  const partSizes = async (): Promise<readonly number[]> => {
    const names = (await readdir(blobs)).filter((name) => name.endsWith(".incomplete"));
    // A file that was just completed has been renamed.
    const sizes = names.map((name) =>
      stat(join(blobs, name)).then(
        ({ size }) => size,
        () => 0,
      ),
    );
    return Promise.all(sizes);
  };
  while (!(await partSizes()).includes(50_000)) await setTimeout(20);
  child.kill("SIGINT");
  expect(await result).toMatchObject({ code: 130 });
  hub.faults.stallAfter = undefined;
  hub.seen.length = 0;
  expect(await run("interrupted", ["inspect", "org/tiny"])).toMatchObject({ code: 0 });
  const ranges = hub.seen.flatMap(({ server, headers }) => (server === "storage" ? [headers.range] : []));
  expect(ranges[0]).toBe("bytes=50000-");
  expect(await partSizes()).toEqual([]);
});

test("push uploads an output and prints its address; the token is never printed", async () => {
  const out = join(root(), "pushed");
  await run("push", ["export", join(root(), "model"), "-o", out]);
  const token = { HF_TOKEN: TOKEN };
  const pushed = await run("push", ["push", out, "org/mine", "--private"], token);
  expect(pushed).toMatchObject({ code: 0, stdout: `${hub.endpoint}/org/mine\n` });
  expect(pushed.stderr).toContain("upload org/mine: done");
  const again = await run("push", ["push", out, "org/mine", "--json", "-q"], token);
  expect(JSON.parse(again.stdout)).toEqual({
    url: `${hub.endpoint}/org/mine`,
    commit: hub.repos.get("models/org/mine")?.commit,
  });
  const branch = await run("push", ["push", out, "org/mine", "--revision", "small", "-q"], token);
  expect(branch).toMatchObject({ code: 0, stdout: `${hub.endpoint}/org/mine/tree/small\n` });
  expect(hub.uploads.branches).toEqual(["small"]);
  const wrong = await run("push", ["push", out, "org/mine"], { HF_TOKEN: "hf_wrong" });
  expect(wrong).toMatchObject({ code: 1, stdout: "" });
  expect(wrong.stderr).toMatch(
    /^error FORBIDDEN: hf:\/\/org\/mine: .*\nhint: Your token may not write there: /,
  );
  const empty = await run("push", ["push", join(root(), "push"), "org/mine"], token);
  expect(empty.stderr).toMatch(/^error NOT_FOUND: /);
  expect([pushed, again, wrong, empty].map(({ stderr }) => stderr).join("")).not.toMatch(
    /hf_mockToken|hf_wrong/,
  );
});
