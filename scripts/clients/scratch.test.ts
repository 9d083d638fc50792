import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { withScratch } from "./scratch.ts";

test("a scratch directory is there for the work, and gone after it, whether it fails or not", async () => {
  const paths: string[] = [];
  const fill = (directory: string): void => {
    writeFileSync(join(directory, "file"), "");
    paths.push(directory);
  };
  expect(await withScratch("test", async (directory) => fill(directory))).toBeUndefined();
  const failing = withScratch("test", (directory) => {
    fill(directory);
    throw new Error("failed");
  });
  await expect(failing).rejects.toThrow("failed");
  expect(new Set(paths).size).toBe(2);
  expect(paths.filter(existsSync)).toEqual([]);
});

test("Ctrl-C removes a scratch directory", async () => {
  const module = JSON.stringify(join(import.meta.dirname, "scratch.ts"));
  const program = `import { withScratch } from ${module};
    await withScratch("test", (directory) => {
      process.stdout.write(directory);
      return new Promise((resolve) => setTimeout(resolve, 600_000));
    });`;
  const child = spawn(process.execPath, ["--import", "tsx", "--input-type=module", "-e", program]);
  onTestFinished(() => void child.kill("SIGKILL"));
  const ended = once(child, "close");
  const [path] = await once(child.stdout.setEncoding("utf8"), "data");
  expect(existsSync(path)).toBe(true);
  child.kill("SIGINT");
  expect(await ended).toEqual([130, null]);
  expect(existsSync(path)).toBe(false);
});
