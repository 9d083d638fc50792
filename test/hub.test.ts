import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parquetWriteBuffer } from "hyparquet-writer";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { openModel } from "../src/index.ts";
import { COMMIT, type MockFile, MockHub } from "./mock_hub.ts";
import { type CliResult, startCli } from "./run_cli.ts";
import { writeTinyCheckpoint, writeTinyTexts } from "./tiny_checkpoint.ts";

let hub: MockHub;
let root: string;
let files: Map<string, MockFile>;

beforeAll(async () => {
  hub = await MockHub.start();
  root = await mkdtemp(join(tmpdir(), "gprune-hub-cli-"));
  const model = await writeTinyCheckpoint(join(root, "model"));
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
  await rm(root, { recursive: true, force: true });
});

/** Runs the command line with a cache in `home` and, unless it is offline, this hub. */
function run(home: string, commandLine: readonly string[], offline = false): Promise<CliResult> {
  const where = offline ? { HF_HUB_OFFLINE: "1" } : { HF_ENDPOINT: hub.endpoint };
  return startCli(commandLine, { ...where, HF_HOME: join(root, home) }).result;
}

test("models are opened by their names on the hub, and keep them", async () => {
  hub.add({ name: "models/org/tiny", files });
  for (const name of ["hf://org/tiny", "org/tiny", `hf://org/tiny@${COMMIT}`]) {
    const model = await openModel(name, hub.options(join(root, "open")));
    expect(model.origin).toMatchObject({ name, format: "hf" });
    expect(model.files.map((file) => file.name)).toContain("tokenizer.json");
    await model.weights.close();
  }
});

test("a directory of the same name goes first; what is nowhere is said to be nowhere", async () => {
  await expect(openModel("org/none", hub.options(join(root, "none")))).rejects.toMatchObject({
    code: "NOT_FOUND",
    hint: expect.stringMatching(/^There is no file or directory org\/none either\. /),
  });
  hub.reset();
  await openModel("demo/model", hub.options(join(root, "none"))).then(({ weights }) => weights.close());
  expect(hub.seen).toEqual([]);
  await expect(openModel("hf://org/tiny/README.md", hub.options(root))).rejects.toThrow("expected a model");
});

test("prune takes a model from the hub, shows the download, and names the base in the card", async () => {
  hub.add({ name: "models/org/tiny", files });
  const out = join(root, "out");
  const magnitude = ["--method", "none", "--metric", "magnitude", "--recover", "none"];
  const { code, stderr } = await run("prune", ["prune", "hf://org/tiny", "-o", out, ...magnitude]);
  expect(stderr).toMatch(/^download org\/tiny: \d+\.\d MB\n/);
  expect(code).toBe(0);
  expect(await readFile(join(out, "README.md"), "utf8")).toContain('base_model: "org/tiny"');
  const offline = await run("prune", ["inspect", "org/tiny", "--json"], true);
  expect(JSON.parse(offline.stdout)).toMatchObject({ model: "org/tiny", layers: 3 });
});

test("texts and tasks of data sets are read wherever a path may stand", async () => {
  const { stories, code } = await writeTinyTexts(root);
  const lines = (await readFile(code, "utf8")).split("\n").map((line) => JSON.stringify({ body: line }));
  const title = { name: "title", data: ["no", "no"], type: "STRING" as const };
  const text = {
    name: "story",
    data: [await readFile(stories, "utf8"), "The end."],
    type: "STRING" as const,
  };
  const task = JSON.stringify({ query: "1 +", choices: ["1", "2"], gold: 1 });
  hub.add({
    name: "datasets/org/texts",
    files: new Map([
      [
        "data/stories.parquet",
        { bytes: new Uint8Array(parquetWriteBuffer({ columnData: [title, text] })), lfs: true },
      ],
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
    join(root, "cut"),
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
