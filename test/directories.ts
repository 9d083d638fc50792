/** Directories for tests, each removed when what it was made for is over. */
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
 * Makes a directory before the tests of a file or group, and removes it after them: after hooks that are registered
 * later.
 * @param name - what its own name has in it
 * @returns its path, from the first hook on that is registered later
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
