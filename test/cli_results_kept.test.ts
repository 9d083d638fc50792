import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type CliResult, gprune } from "./run_cli.ts";
import { writeTinyCheckpoint, writeTinyTexts } from "./tiny_checkpoint.ts";

let root: string;
let model: string;
/** An output of prune. */
let output: string;
let texts: readonly string[];

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "gprune-kept-"));
  model = await writeTinyCheckpoint(join(root, "model"));
  const { stories, code } = await writeTinyTexts(root);
  texts = [`stories=${stories}`, `code=${code}`];
  output = join(root, "out");
  const settings = ["--metric", "magnitude", "--method", "none", "--recover", "none", "--no-report", "-q"];
  await gprune("prune", model, "-o", output, ...settings);
});
afterAll(() => rm(root, { recursive: true, force: true }));

const SMALL = ["--seq-len", "24"];

/** `gprune ARGUMENTS` that may write no file of more than 2 or, by some shells, 4 kB. */
function gpruneOfSmallFiles(...commandLine: readonly string[]): CliResult {
  const limit = 'ulimit -f 4; exec "$0" "$@"';
  const program = [process.execPath, "--import", "tsx", "src/cli/main.ts"];
  const { status, stdout, stderr } = spawnSync("sh", ["-c", limit, ...program, ...commandLine], {
    cwd: join(import.meta.dirname, ".."),
    encoding: "utf8",
  });
  return { code: status, stdout, stderr };
}

describe("what is written in the end", () => {
  test("is known to have a place before anything is computed", async () => {
    const picture = join(root, "taken.svg");
    await mkdir(picture);
    const sensitivity = await gprune(
      "sensitivity",
      model,
      "--calib",
      ...texts,
      ...SMALL,
      "--picture",
      picture,
    );
    expect(sensitivity).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringMatching(
        `^error OUTPUT_EXISTS: ${picture}: expected the name of a file, got a dir`,
      ),
    });
    const report = join(output, "report.html");
    await mkdir(report);
    const evaluated = await gprune("eval", output, "--text", ...texts, ...SMALL, "--save");
    expect(evaluated).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringMatching(
        `^error OUTPUT_EXISTS: ${report}: expected the name of a file, got a dir`,
      ),
    });
    await rm(report, { recursive: true });
    expect(await readdir(output)).not.toContain("evaluation.json");
  });

  test("is printed all the same when it cannot be written, and the error names the file", async () => {
    const refused = (path: string): RegExp =>
      new RegExp(`^error OUTPUT_FAILED: ${path}: expected to write it, got EFBIG\n`);
    const picture = join(root, "sigma.svg");
    const sensitivity = gpruneOfSmallFiles(
      "sensitivity",
      model,
      "--calib",
      ...texts,
      ...SMALL,
      "-q",
      "--picture",
      picture,
    );
    expect(sensitivity).toMatchObject({ code: 1, stderr: expect.stringMatching(refused(picture)) });
    expect(sensitivity.stdout).toMatch(/^space +units/m);
    const evaluated = gpruneOfSmallFiles(
      "eval",
      output,
      "--text",
      ...texts,
      ...SMALL,
      "-q",
      "--save",
      "--json",
    );
    const report = join(output, "report.html");
    expect(evaluated).toMatchObject({ code: 1, stderr: expect.stringMatching(refused(report)) });
    expect(JSON.parse(evaluated.stdout)).toMatchObject({ model: output, texts: { stories: {}, code: {} } });
    const own = join(root, "own.jsonl");
    const sample = ["--sample", "--count", "8", "--max-tokens", "60"];
    const sampled = gpruneOfSmallFiles("generate", model, ...sample, "-q", "-o", own);
    expect(sampled).toMatchObject({ code: 1, stderr: expect.stringMatching(refused(own)) });
    expect(sampled.stdout).toMatch(/^\{"text":/);
    expect((await readdir(root)).sort()).toEqual(["code.txt", "model", "out", "stories.txt", "taken.svg"]);
  });
});
