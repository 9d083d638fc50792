import { spawn } from "node:child_process";
import { once } from "node:events";
import { access, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { suiteDirectory } from "./directories.ts";
import { BY_WEIGHTS, type CliResult, type CliRun, gprune, hashes, startCli } from "./run_cli.ts";
import { DEMO_MODEL, demoText } from "./tiny_checkpoint.ts";

const TEXTS = ["code", "stories"].map((kind) => `${kind}=${demoText("calibration", kind)}`);
const CALIBRATION = ["--calib", `code=${demoText("calibration", "code")}`];
const SETTINGS = [
  ...["--samples", "12", "--seq-len", "128"],
  ...["--own-text", "never"],
  ...["--threads", "1"],
  ...["--allocation", "uniform"],
  "--no-report",
];
const FILES = ["config.json", "model.safetensors", "plan.json", "facts.json"];

const root = suiteDirectory("interrupts");
/** Hashes of the output of an uninterrupted run. */
let expected: Record<string, string>;

beforeAll(async () => {
  const output = join(root(), "whole");
  expect(await gprune(...pruneTo(output))).toMatchObject({ code: 0 });
  expected = await hashes(output, FILES);
});

function pruneTo(output: string, ...more: readonly string[]): readonly string[] {
  return ["prune", DEMO_MODEL, "-o", output, ...SETTINGS, ...more, ...CALIBRATION];
}

/** Starts a run into a new directory, and waits until stderr contains the text. */
async function runUntil(text: string): Promise<{ run: CliRun; parent: string; output: string }> {
  const parent = await mkdtemp(join(root(), "parent-"));
  const output = join(parent, "made", "out");
  const run = startCli(pruneTo(output));
  await run.said(text);
  return { run, parent, output };
}

/** Id of the computing process, from its lock. */
async function computingProcess(output: string): Promise<number> {
  const holder = JSON.parse(await readFile(`${output}.run/lock`, "utf8")) as { readonly pid: number };
  return holder.pid;
}

/** Expects that a resumed run ends with the bytes of an uninterrupted one, and leaves no other files. */
async function expectResumed(output: string): Promise<void> {
  expect(await gprune(...pruneTo(output, "--resume"))).toMatchObject({ code: 0 });
  expect(await hashes(output, FILES)).toEqual(expected);
  expect(await readdir(join(output, ".."))).toEqual(["out"]);
}

describe.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)("%s", (signal, code) => {
  test.each(["calibrate: ", "recover: "])("at %j stops where the run can be resumed", async (text) => {
    const { run, output } = await runUntil(text);
    run.child.kill(signal);
    const { stdout, stderr, ...result } = await run.result;
    expect({ ...result, stdout }).toEqual({ code, stdout: "" });
    expect(stderr).toContain("stopping after the current step; press Ctrl-C again to stop at once");
    expect(stderr).toMatch(new RegExp(`interrupted by ${signal}\\nhint: Progress is kept in .*/out\\.run; `));
    await expect(access(output)).rejects.toMatchObject({ code: "ENOENT" });
    const again = await gprune(...pruneTo(output));
    expect(again.code).toBe(1);
    expect(again.stderr).toMatch(
      /error OUTPUT_EXISTS: .*out\.run: expected no unfinished run, got one\nhint: .*--resume/,
    );
    await expectResumed(output);
  });

  test("twice stops at once, and there is no output", async () => {
    const { run, output } = await runUntil("calibrate: ");
    run.child.kill(signal);
    await run.said("stopping after the current step");
    // A signal within a second would count as the same.
    await setTimeout(1100);
    run.child.kill(signal);
    expect(await run.result).toMatchObject({ code, stdout: "" });
    await expect(access(output)).rejects.toMatchObject({ code: "ENOENT" });
  });
});

test("Ctrl-C in the demo leaves nothing of it, and a directory that was there", async () => {
  const parent = await mkdtemp(join(root(), "demo-"));
  const there = join(parent, "there");
  await mkdir(there);
  for (const [output, text] of [
    [join(parent, "made", "out"), "calibrate: "],
    [there, "evaluate almanac: "],
  ] as const) {
    const run = startCli(["demo", "-o", output]);
    await run.said(text);
    run.child.kill("SIGINT");
    const { code, stderr } = await run.result;
    expect(code).toBe(130);
    expect(stderr).toMatch(/\ninterrupted by SIGINT; no partial output is left\n$/);
    expect(await readdir(parent, { recursive: true })).toEqual(["there"]);
  }
});

test("Ctrl-C before anything was kept leaves nothing, or says how the run is resumed", async () => {
  const { run, parent } = await runUntil("the result will run in");
  run.child.kill("SIGINT");
  const { code, stderr } = await run.result;
  expect(code).toBe(130);
  if (stderr.includes("no partial output is left")) expect(await readdir(parent)).toEqual([]);
  else expect(stderr).toContain("--resume");
});

describe("a process that is killed", () => {
  test.each([
    [
      "SIGKILL",
      1,
      /^error OUT_OF_MEMORY: the computing process was ended by SIGKILL, probably .*\nhint: .*continue with --resume/m,
    ],
    [
      "SIGABRT",
      2,
      /internal: the computing process ended by SIGABRT\..*continue with --resume(.*\n)*This is a bug in gprune/,
    ],
  ] as const)("by %s while it computes: the other one says what to do", async (signal, code, says) => {
    const { run, output } = await runUntil("recover: ");
    process.kill(await computingProcess(output), signal);
    const result = await run.result;
    expect(result.code).toBe(code);
    expect(result.stderr).toMatch(says);
    await expectResumed(output);
  });

  test("in front of the user: the computing one stops by itself, and the run can be resumed", async () => {
    const { run, output } = await runUntil("recover: ");
    const pid = await computingProcess(output);
    run.child.kill("SIGKILL");
    await run.result;
    await expect.poll(() => isRunning(pid), { timeout: 30_000 }).toBe(false);
    await expectResumed(output);
  });

  // Elsewhere it is not known whose parent a process has lost.
  test.runIf(process.platform === "linux")(
    "in front of the user: what the computing one completes while the resumed run waits is its output",
    async () => {
      const parent = await mkdtemp(join(root(), "parent-"));
      const output = join(parent, "out");
      const complete = join(parent, "complete");
      await cp(join(root(), "whole"), complete, { recursive: true });
      await orphanThatCompletes(output, complete);
      const { code, stderr } = await gprune(...pruneTo(output, "--resume"));
      expect({ code, computes: stderr.includes("calibrate: ") }).toEqual({ code: 0, computes: false });
      expect(await hashes(output, FILES)).toEqual(expected);
      expect(await readdir(parent)).toEqual(["out"]);
    },
  );
});

/** Leaves a process without its parent that holds an output's run, and puts it there once another run waits for it. */
async function orphanThatCompletes(output: string, complete: string): Promise<void> {
  const lock = join(`${output}.run`, "lock");
  const script = join(await mkdtemp(join(root(), "holder-")), "holder.mts");
  await mkdir(`${output}.run`);
  await writeFile(
    script,
    `import { readdirSync, renameSync } from "node:fs";
    import { RunLock } from ${JSON.stringify(join(import.meta.dirname, "../src/io/run/lock.ts"))};
    await RunLock.take(${JSON.stringify(lock)});
    setInterval(() => {
      if (!readdirSync(${JSON.stringify(`${output}.run`)}).some((name) => name.startsWith("lock."))) return;
      renameSync(${JSON.stringify(complete)}, ${JSON.stringify(output)});
      process.exit();
    }, 50);`,
  );
  const start = `require("child_process").spawn(process.execPath, ["--import", "tsx", ${JSON.stringify(script)}])`;
  const parent = spawn(process.execPath, ["-e", `${start}; setInterval(() => {}, 1000)`]);
  await expect.poll(() => readFile(lock).catch(() => null), { timeout: 20_000 }).not.toBeNull();
  parent.kill("SIGKILL");
  await once(parent, "exit");
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** A command without resumable progress, and the text on stderr once it computes. */
type Command = readonly [title: string, commandLine: (parent: string) => readonly string[], says: string];

/** Commands with many steps left at that time. */
const LONG: readonly Command[] = [
  ["eval", () => ["eval", DEMO_MODEL, "--text", ...TEXTS, "--threads", "1"], "evaluate code: "],
  ["compare", () => ["compare", DEMO_MODEL, DEMO_MODEL, "--text", ...TEXTS], "evaluate code: "],
  ["sensitivity", () => ["sensitivity", DEMO_MODEL, "--calib", ...TEXTS, "--samples", "99"], "calibrate: "],
  [
    "generate",
    (parent) => ["generate", DEMO_MODEL, "--sample", "--count", "99", "-o", join(parent, "out.jsonl")],
    "sample: ",
  ],
];

/** Commands that may have finished before the signal arrives. */
const SHORT: readonly Command[] = [
  ["export", (parent) => ["export", DEMO_MODEL, "-o", join(parent, "out"), "--dtype", "f32"], "save: "],
  [
    "export to GGUF",
    (parent) => ["export", DEMO_MODEL, "-o", join(parent, "out.gguf"), "--dtype", "q6_k"],
    "save: ",
  ],
];

/** Result of a command after Ctrl-C, and the files in its output's parent. */
async function interrupted([, commandLine, says]: Command): Promise<CliResult & { left: readonly string[] }> {
  const parent = await mkdtemp(join(root(), "parent-"));
  const run = startCli(commandLine(parent));
  await run.said(says);
  run.child.kill("SIGINT");
  return { ...(await run.result), left: await readdir(parent) };
}

const INTERRUPTED = {
  code: 130,
  stdout: "",
  stderr: expect.stringContaining("interrupted by SIGINT"),
  left: [],
};

describe("Ctrl-C while a command is at work", { timeout: 180_000 }, () => {
  test.each(LONG)("ends it after the step it is at, and leaves nothing: %s", async (...command) => {
    expect(await interrupted(command)).toEqual(INTERRUPTED);
  });

  test.each(SHORT)("leaves all of its output or nothing: %s", async (...command) => {
    const result = await interrupted(command);
    if (result.code !== 0) expect(result).toEqual(INTERRUPTED);
    else expect(result.left).toEqual([expect.stringMatching(/^out(?:[.]gguf)?$/)]);
  });
});

describe("an evaluation", () => {
  test.each(["SIGKILL", "SIGINT"] as const)(
    "that %s ends goes on with --resume and says the same",
    async (signal) => {
      const parent = await mkdtemp(join(root(), "parent-"));
      const small = ["eval", DEMO_MODEL, "--text", ...TEXTS, "--limit", "20", "--seq-len", "128", "--json"];
      const commandLine = [...small, "--resume", join(parent, "scores")];
      const run = startCli(commandLine);
      await run.said("evaluate stories: ");
      run.child.kill(signal);
      expect((await run.result).stdout).toBe("");
      // The computing process ends when it notices that its parent is gone.
      const again = startCli(commandLine);
      let result = await again.result;
      while (result.stderr.includes("error LOCKED")) result = await startCli(commandLine).result;
      expect(result.stderr).not.toContain("evaluate code");
      expect(result.stderr).toContain("evaluate stories");
      expect(result.stdout).toBe((await gprune(...small)).stdout);
    },
  );
});

test("what a run depends on must not have changed", async () => {
  const { run, output } = await runUntil("recover: ");
  run.child.kill("SIGINT");
  await run.result;
  const { code, stderr } = await gprune(...pruneTo(output, "--resume", "--seed", "1", "--samples", "11"));
  expect(code).toBe(1);
  expect(stderr).toContain("error BAD_CHECKPOINT: ");
  expect(stderr).toMatch(
    /\n {2}settings\.samples: 11 instead of 12\n {2}settings\.refitSamples: 22 instead of 24\n {2}settings\.seed: 1 instead of 0\n/,
  );
  expect(stderr).toMatch(
    /\nhint: Repeat the original command with --resume, or remove .*out\.run to start over\./,
  );
  await expectResumed(output);
});

test("a run that has ended takes no time when it is resumed", async () => {
  const output = join(root(), "ended");
  const small = ["prune", DEMO_MODEL, "-o", output, ...BY_WEIGHTS, "--no-report", "-q"];
  expect((await gprune(...small)).stdout).toMatch(/^time +\d+\.\d s \(/m);
  const { code, stdout } = await gprune(...small, "--resume");
  expect(code).toBe(0);
  expect(stdout).toMatch(/^time +none; the run was already complete$/m);
  const other = await gprune(...small, "--resume", "--sparsity", "0.1");
  expect(other.code).toBe(1);
  expect(other.stderr).toMatch(
    /^error OUTPUT_EXISTS: .*ended: expected the output of the same run, got\n {2}settings\.sparsity: 0\.1 instead of 0\.\d+\n/,
  );
});

test.each([
  ["missing", (path: string) => rm(path), "got neither"],
  ["empty", (path: string) => writeFile(path, ""), "a file of 0 bytes"],
] as const)("a run that has ended is not whole when its weights are %s", async (title, damage, reason) => {
  const output = join(root(), title);
  const small = ["prune", DEMO_MODEL, "-o", output, ...BY_WEIGHTS, "--no-report", "-q", "--resume"];
  expect(await gprune(...small)).toMatchObject({ code: 0 });
  await damage(join(output, "model.safetensors"));
  const { code, stdout, stderr } = await gprune(...small);
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toContain(
    `error OUTPUT_EXISTS: ${output}: expected the complete output of this run, got one that cannot be read (`,
  );
  expect(stderr).toContain(reason);
  expect(stderr).toMatch(/\nhint: Remove the directory and repeat the command\./);
  await rm(output, { recursive: true });
  expect(await gprune(...small)).toMatchObject({ code: 0 });
});

test("a directory that is not ours is left alone", async () => {
  const output = join(root(), "foreign");
  await mkdir(`${output}.run`);
  await writeFile(join(`${output}.run`, "thesis.txt"), "mine");
  const { code, stderr } = await gprune(...pruneTo(output, "--resume"));
  expect(code).toBe(1);
  expect(stderr).toMatch(
    /error OUTPUT_EXISTS: .*foreign\.run: expected a directory with the progress of a run, got .*thesis\.txt/,
  );
  expect(await readdir(`${output}.run`)).toEqual(["thesis.txt"]);
});

test("of two runs on one directory the second is refused, with who holds it and since when", async () => {
  const { run, output } = await runUntil("calibrate: ");
  const second = await gprune(...pruneTo(output, "--resume"));
  expect(second.code).toBe(1);
  const pid = await computingProcess(output);
  expect(second.stderr).toMatch(
    new RegExp(`error LOCKED: .*lock: expected no other run, got process ${pid} on .* since \\d{4}-\\d\\d-`),
  );
  expect(await run.result).toMatchObject({ code: 0 });
  expect(await hashes(output, FILES)).toEqual(expected);
});
