import { rmSync, writeFileSync } from "node:fs";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { resolveRunConfig } from "../config.ts";
import type { RunHandle } from "../ui/start_run.ts";
import { hintForPage, pruneStarter } from "./ui_process.ts";

vi.mock("node:fs", async (original) => {
  const fs = await original<typeof import("node:fs")>();
  return { ...fs, rmSync: vi.fn(fs.rmSync), writeFileSync: vi.fn(fs.writeFileSync) };
});

describe("a run's configuration is a temporary file", () => {
  let place: string;
  let script: string;
  beforeEach(async () => {
    script = join(await temporaryDirectory(), "ends.mjs");
    await writeFile(script, `process.send({ type: "done" }, () => process.disconnect());`);
    place = await temporaryDirectory();
    vi.stubEnv("TMPDIR", place);
    return () => vi.unstubAllEnvs();
  });

  /** Starts a program that ends at once in place of the command line. */
  function start(): RunHandle {
    const calibration = [{ name: "own", path: "self" }];
    const config = resolveRunConfig({ model: "m", output: "o", calibration }, "form");
    const listener = { onProgress: () => {}, onMemory: () => {}, onText: () => {} };
    return pruneStarter(script, [])({ config, resume: false }, listener);
  }

  function fail(code: string): never {
    throw Object.assign(new Error(code), { code, errno: -1 });
  }

  test("which is removed when the run has ended", async () => {
    await start().ending;
    expect(await readdir(place)).toEqual([]);
  });

  test("of which nothing is left when it cannot be written", async () => {
    vi.mocked(writeFileSync).mockImplementationOnce(() => fail("ENOSPC"));
    expect(start).toThrow(
      expect.objectContaining({
        code: "OUTPUT_FAILED",
        message: expect.stringMatching(/run\.yaml: expected a writable path, got ENOSPC$/),
      }),
    );
    expect(await readdir(place)).toEqual([]);
  });

  test("and a run ends as it did when it cannot be removed", async () => {
    vi.mocked(rmSync).mockImplementationOnce(() => fail("EBUSY"));
    const { state } = await start().ending;
    expect(state).toBe("finished");
    expect(await readdir(place)).toHaveLength(1);
  });
});

test("the page's user gets no advice for a command line and no name of a temporary file", () => {
  const file = "/tmp/gprune-ui-1/run.yaml";
  const start = "Relative paths start at the current directory, /home/a.";
  const named = `${file} names it. ${start}`;
  const next =
    "Run gprune in the directory that they are relative to, or give the paths on the command line.";
  const kept = "Progress is kept in a.run; repeat the command with --resume to continue.";
  expect(hintForPage(`${file} names it. ${next}`, file)).toBeNull();
  expect(hintForPage(`${named} ${next} texts.txt is a plain text. ${kept}`, file)).toBe(
    `${start} texts.txt is a plain text.`,
  );
  expect(hintForPage("Use --seq-len 256.", file)).toBeNull();
  expect(hintForPage("Use shorter windows (--seq-len).", file)).toBe("Use shorter windows.");
  const memory = "Use fewer or shorter windows, close other programs, or use a larger machine.";
  expect(hintForPage(`${memory} Saved progress is kept; continue with --resume.`, file)).toBe(memory);
});
