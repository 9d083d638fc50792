/**
 * Compiles the sources before all tests, for tests that run the command line: run from TypeScript, each of its
 * processes would start a second later.
 */
import { execFileSync } from "node:child_process";
import { readdirSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "..");

/** Directory of the compiled sources. */
const COMPILED = join(ROOT, ".compiled");

/** Compiled program of the command line. */
export const CLI: string = join(COMPILED, "cli.js");

/** Written after compiling, so that an interrupted compilation is repeated; its time is that of the start. */
const STAMP = join(COMPILED, "compiled");

/** Called by vitest before all tests. */
export function setup(): void {
  const started = new Date();
  if (compiledAt() > lastChange()) return;
  const vite = join(ROOT, "node_modules", "vite", "bin", "vite.js");
  execFileSync(process.execPath, [vite, "build", "--outDir", COMPILED], { cwd: ROOT, stdio: "inherit" });
  writeFileSync(STAMP, "");
  utimesSync(STAMP, started, started);
}

/** Start of the last complete compilation, milliseconds. */
function compiledAt(): number {
  return statSync(STAMP, { throwIfNoEntry: false })?.mtimeMs ?? Number.NEGATIVE_INFINITY;
}

/** Last change of a source or of a directory of sources, milliseconds. */
function lastChange(): number {
  const source = join(ROOT, "src");
  const names = ["", ...readdirSync(source, { encoding: "utf8", recursive: true })];
  return Math.max(...names.map((name) => statSync(join(source, name)).mtimeMs));
}
