import { existsSync } from "node:fs";
import { open } from "node:fs/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { suiteDirectory } from "./directories.ts";
import { type CliResult, startCli } from "./run_cli.ts";
import { writeTinyCheckpoint, writeTinyTexts } from "./tiny_checkpoint.ts";

const root = suiteDirectory("full-disk");
let calib: string;

beforeAll(async () => {
  await writeTinyCheckpoint(`${root()}/model`);
  calib = `stories=${(await writeTinyTexts(root())).stories}`;
});

describe.skipIf(!existsSync("/dev/full"))("a full disk", () => {
  /** Runs `gprune` with one of its streams on a full disk. */
  async function onFullDisk(stream: 1 | 2, ...commandLine: readonly string[]): Promise<CliResult> {
    const full = await open("/dev/full", "w");
    try {
      const [stdout, stderr] = [1, 2].map((number) => (number === stream ? full.fd : "pipe"));
      return await startCli(commandLine, {}, { outputs: [stdout!, stderr!] }).result;
    } finally {
      await full.close();
    }
  }

  const evaluation = (): readonly string[] => {
    return ["eval", `${root()}/model`, "--text", calib, "--seq-len", "24", "--limit", "1"];
  };

  test("under the standard output is an error that names both", async () => {
    for (const command of [["inspect", `${root()}/model`], [...evaluation(), "-q"], ["--help"]]) {
      expect(await onFullDisk(1, ...command)).toEqual({
        code: 1,
        stdout: "",
        stderr:
          "error OUTPUT_FAILED: standard output: expected a writable path, got ENOSPC\n" +
          "hint: The disk is full; free some space or write to another disk.\n",
      });
    }
  });

  test("under the standard error changes neither result nor exit code", async () => {
    expect(await onFullDisk(2, ...evaluation())).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^stories +\d+\.\d+ +1$/m),
    });
    expect(await onFullDisk(2, "inspect", `${root()}/nowhere`)).toMatchObject({ code: 1, stdout: "" });
    expect(await onFullDisk(2, "inspect")).toMatchObject({ code: 1, stdout: "" });
  });
});
