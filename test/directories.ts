/** Temporary directories for tests and suites. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, onTestFinished } from "vitest";

/** A new directory, removed when the test ends. */
export async function temporaryDirectory(): Promise<string> {
  const directory = await newDirectory("test");
  onTestFinished(() => remove(directory));
  return directory;
}

/**
 * Makes a directory before the tests of a file or group, and removes it after them and after all hooks that are
 * registered later.
 * @param name - part of the directory's name
 * @returns a function for its path, which works in hooks that are registered later, and in tests
 */
export function suiteDirectory(name: string): () => string {
  let directory: string;
  beforeAll(async () => {
    directory = await newDirectory(name);
  });
  afterAll(() => remove(directory));
  return () => directory;
}

function newDirectory(name: string): Promise<string> {
  return mkdtemp(join(tmpdir(), `gprune-${name}-`));
}

function remove(directory: string): Promise<void> {
  return rm(directory, { recursive: true, force: true });
}
