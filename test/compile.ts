/**
 * Compiles the sources before any test, for those that run the command line: from the sources it would start a second
 * later, and so would each process that it starts.
 */
import { execFileSync } from "node:child_process";
import { readdirSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "..");

/** Where the compiled sources lie. */
export const COMPILED: string = join(ROOT, ".compiled");

/** What `gprune` runs. */
export const CLI: string = join(COMPILED, "cli", "main.js");

/** Written when all is compiled, so that what was cut off is compiled again; its time is when that began. */
const STAMP = join(COMPILED, "compiled");

/** Without types, which `npm run check` looks at. */
const OPTIONS = ["--noCheck", "--declaration", "false", "--isolatedDeclarations", "false"];

/** What vitest calls before all tests. */
export function setup(): void {
  const started = new Date();
  if (compiledAt() > lastChange()) return;
  const tsc = join(ROOT, "node_modules", "typescript", "bin", "tsc");
  const project = ["-p", join(ROOT, "tsconfig.build.json"), "--outDir", COMPILED];
  execFileSync(process.execPath, [tsc, ...project, ...OPTIONS], { stdio: "inherit" });
  writeFileSync(STAMP, "");
  utimesSync(STAMP, started, started);
}

/** When the sources that are compiled were read; milliseconds. */
function compiledAt(): number {
  return statSync(STAMP, { throwIfNoEntry: false })?.mtimeMs ?? Number.NEGATIVE_INFINITY;
}

/** When a source was last written, or one of their directories changed; milliseconds. */
function lastChange(): number {
  const source = join(ROOT, "src");
  const names = ["", ...readdirSync(source, { encoding: "utf8", recursive: true })];
  return Math.max(...names.map((name) => statSync(join(source, name)).mtimeMs));
}
