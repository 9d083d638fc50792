import { spawnSync } from "node:child_process";
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { CLI } from "./compile.ts";
import { suiteDirectory } from "./directories.ts";
import { BY_WEIGHTS, type CliResult, cliEnvironment, gprune, startCli } from "./run_cli.ts";
import { writeTinyCheckpoint, writeTinyTexts } from "./tiny_checkpoint.ts";

const root = suiteDirectory("kept");
let model: string;
/** An output of prune. */
let output: string;
let texts: readonly string[];

beforeAll(async () => {
  model = await writeTinyCheckpoint(join(root(), "model"));
  const { stories, code } = await writeTinyTexts(root());
  texts = [`stories=${stories}`, `code=${code}`];
  output = join(root(), "out");
  const settings = [...BY_WEIGHTS, "--no-report", "-q"];
  await gprune("prune", model, "-o", output, ...settings);
});

const SMALL = ["--seq-len", "24"];

/** Runs `gprune ARGUMENTS` with files limited to 2 kB, or 4 kB in some shells. */
function gpruneOfSmallFiles(...commandLine: readonly string[]): CliResult {
  const limit = 'ulimit -f 4; exec "$0" "$@"';
  const program = [process.execPath, CLI];
  const { status, stdout, stderr } = spawnSync("sh", ["-c", limit, ...program, ...commandLine], {
    cwd: join(import.meta.dirname, ".."),
    encoding: "utf8",
    env: cliEnvironment(),
  });
  return { code: status, stdout, stderr };
}

/** Expects exit code 1, a match on stderr, and nothing on stdout. */
async function expectRefused(commandLine: readonly string[], stderr: string): Promise<void> {
  const refused = { code: 1, stdout: "", stderr: expect.stringMatching(new RegExp(stderr)) };
  expect(await gprune(...commandLine)).toMatchObject(refused);
}

describe("places that are refused", () => {
  test("of export named like files where the format is a directory, or the other way round", async () => {
    const directory = "error BAD_ARGUMENT: --output: expected a directory name for the format";
    const cases: readonly (readonly [string, readonly string[], string])[] = [
      ["x.onnx", [], `${directory} hf, got ${root()}/x.onnx\nhint: .* -o ${root()}/x --format onnx\n`],
      ["x.ONNX", ["--format", "onnx"], `${directory} onnx, got ${root()}/x.ONNX\nhint: .* -o ${root()}/x `],
      ["x.safetensors", [], `${directory} hf, got ${root()}/x.safetensors\nhint: .* -o ${root()}/x\n`],
      [
        "x.gguf",
        ["--format", "hf"],
        `${directory} hf, got ${root()}/x.gguf\nhint: For a GGUF file, leave --format out; otherwise name a directory: -o ${root()}/x\n`,
      ],
      ["y.safetensors/", [], `${directory} hf, got ${root()}/y.safetensors\nhint: .* -o ${root()}/y\n`],
      [
        "x",
        ["--format", "gguf"],
        `error BAD_ARGUMENT: --output: expected a file named \\*\\.gguf, got ${root()}/x\nhint: Name it -o ${root()}/x.gguf\n`,
      ],
    ];
    for (const [name, format, message] of cases) {
      await expectRefused(["export", model, "-o", `${root()}/${name}`, ...format], `^${message}`);
    }
  });

  test("paths of a configuration file that are not there, with where they start", async () => {
    const paths = join(root(), "paths.yaml");
    const start = `hint: The path is from ${paths}. Relative paths start at the current directory, ${process.cwd()}. Run gprune in `;
    const cases = [
      ["model: no/such/model", "no/such/model: expected a model, got no such file or directory"],
      [
        "calibration: [{name: st, path: no/st.txt}]",
        "no/st.txt: expected the text of set st, got no such file or directory",
      ],
      ["plan: no/plan.json", "no/plan.json: expected a readable file, got no such file or directory"],
    ] as const;
    for (const [line, message] of cases) {
      await writeFile(paths, `${line}\n`);
      const given = line.startsWith("model") ? [] : [model];
      const command = ["prune", ...given, "-o", join(root(), "other"), "--config", paths];
      const set = line.startsWith("calibration") ? [] : ["--calib", ...texts];
      await expectRefused([...command, ...set], `^error NOT_FOUND: ${message}\n${start}`);
    }
    // No hint for a path that the command line names.
    await expectRefused(
      [
        "prune",
        model,
        "-o",
        join(root(), "other"),
        "--config",
        paths,
        "--plan",
        "no/other.json",
        "--calib",
        ...texts,
      ],
      "^error NOT_FOUND: no/other.json: expected a readable file, got no such file or directory\n$",
    );
  });
});

describe("what is written in the end", () => {
  test("is known to have a place before anything is computed", async () => {
    const picture = join(root(), "taken.svg");
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
      stderr: expect.stringMatching(`^error OUTPUT_EXISTS: ${picture}: expected a file name, got a dir`),
    });
    const report = join(output, "report.html");
    await mkdir(report);
    const evaluated = await gprune("eval", output, "--text", ...texts, ...SMALL, "--save");
    expect(evaluated).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringMatching(`^error OUTPUT_EXISTS: ${report}: expected a file name, got a dir`),
    });
    await rm(report, { recursive: true });
    expect(await readdir(output)).not.toContain("evaluation.json");
  });

  test("is printed all the same when it cannot be written, and the error names the file", async () => {
    const refused = (path: string): RegExp =>
      new RegExp(`^error OUTPUT_FAILED: ${path}: expected a writable path, got EFBIG\n`);
    const picture = join(root(), "sigma.svg");
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
    const own = join(root(), "own.jsonl");
    const sample = ["--sample", "--count", "8", "--max-tokens", "60"];
    const sampled = gpruneOfSmallFiles("generate", model, ...sample, "-q", "-o", own);
    expect(sampled).toMatchObject({ code: 1, stderr: expect.stringMatching(refused(own)) });
    expect(sampled.stdout).toMatch(/^\{"text":/);
    expect((await readdir(root())).filter((name) => /^\.|sigma|own/.test(name))).toEqual([]);
  });
});

test("a machine for which ONNX Runtime has no library is named by what computes; nothing else needs one", async () => {
  // As on Alpine Linux: the library is there, and does not load.
  const noLibrary = "process.dlopen=()=>{throw%20new%20Error('no%20glibc')}";
  const environment = { NODE_OPTIONS: `--import=data:text/javascript,${noLibrary}` };
  const here = `${process.platform} on ${process.arch} (no glibc)`;
  const platforms = "Linux with glibc or Windows on x64 or arm64, or macOS on arm64";
  const hint = "In a container use an image with glibc, such as node:22-slim; Alpine Linux has none.";
  expect(await startCli(["eval", model, "--text", ...texts], environment).result).toEqual({
    code: 1,
    stdout: "",
    stderr: `error UNSUPPORTED: ONNX Runtime: expected ${platforms}, got ${here}\nhint: ${hint}\n`,
  });
  const gguf = join(root(), "no_runtime.gguf");
  for (const command of [
    ["prune", "--help"],
    ["inspect", model],
    ["export", model, "-o", gguf, "-q"],
  ]) {
    expect(await startCli(command, environment).result).toMatchObject({ code: 0, stderr: "" });
  }
});
