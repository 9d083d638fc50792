/** Temporary directories of scripts and benchmarks. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Calls `work` with a new directory, which is removed afterwards, also after an error or Ctrl-C. */
export async function withScratch<T>(name: string, work: (directory: string) => T | Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), `gprune-${name}-`));
  const remove = (): void => rmSync(directory, { recursive: true, force: true });
  const stop = (): never => {
    remove();
    process.exit(130);
  };
  process.once("SIGINT", stop);
  try {
    return await work(directory);
  } finally {
    process.off("SIGINT", stop);
    remove();
  }
}
