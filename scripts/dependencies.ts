/**
 * Checks that all dependencies have permissive licences, and that nothing runs code while it is installed. Reads
 * package.json and package-lock.json, without network access.
 *
 *   node --import tsx scripts/dependencies.ts
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { isProgram } from "./clients/options.ts";

/** A package as package-lock.json lists it. */
export interface LockedPackage {
  readonly version?: string;
  readonly license?: string;
  readonly dev?: boolean;
  readonly hasInstallScript?: boolean;
}

/** The parts of package.json that are checked. */
export interface Manifest {
  readonly scripts?: Readonly<Record<string, string>>;
  readonly allowScripts?: Readonly<Record<string, boolean>>;
}

/** SPDX identifiers of permissive licences. */
const PERMISSIVE: ReadonlySet<string> = new Set([
  "MIT",
  "ISC",
  "0BSD",
  "BSD-2-Clause",
  "BSD-3-Clause",
  "Apache-2.0",
  "BlueOak-1.0.0",
  "CC0-1.0",
  "Unlicense",
  "Python-2.0",
]);

/**
 * Licences that are accepted for certain packages: MPL-2.0 requires only that changes to its own files stay open, and
 * these packages are used unchanged, or only for tests.
 */
const EXCEPTIONS: Readonly<Record<string, RegExp>> = {
  "MPL-2.0": /^(@resvg\/resvg-js|lightningcss|axe-core$)/,
};

/** Scripts that npm runs when a package is installed. */
const INSTALL_SCRIPTS = ["preinstall", "install", "postinstall", "prepare"];

/** The line of .npmrc that forbids install scripts to every npm; `allowScripts` is for 11.19 and later. */
const IGNORE_SCRIPTS = "ignore-scripts=true";

/** Problems with licences and install scripts, one line each. @param npmrc - content of .npmrc */
export function dependencyProblems(
  manifest: Manifest,
  packages: Readonly<Record<string, LockedPackage>>,
  npmrc: string,
): readonly string[] {
  const scripts = INSTALL_SCRIPTS.filter((name) => manifest.scripts?.[name] !== undefined);
  const problems = scripts.map((name) => `package.json: expected no ${name} script, got one`);
  if (!npmrc.split("\n").includes(IGNORE_SCRIPTS)) {
    problems.push(`.npmrc: expected ${IGNORE_SCRIPTS}, got no such line`);
  }
  for (const [path, { license, hasInstallScript }] of Object.entries(packages)) {
    const name = path.split("node_modules/").at(-1)!;
    if (name === "") continue;
    if (!isAllowed(license, name)) {
      problems.push(`${name}: expected a permissive licence, got ${license ?? "none"}`);
    }
    if (hasInstallScript === true && manifest.allowScripts?.[name] !== false) {
      problems.push(`${name}: expected allowScripts to forbid its install script, got nothing`);
    }
  }
  return problems;
}

/** Whether an SPDX expression of identifiers, AND and OR allows the use of a package. */
function isAllowed(license: string | undefined, name: string): boolean {
  if (license === undefined) return false;
  const isFine = (id: string): boolean => PERMISSIVE.has(id) || EXCEPTIONS[id]?.test(name) === true;
  return license
    .replaceAll(/[()]/g, "")
    .split(" AND ")
    .every((part) => part.split(" OR ").some((id) => isFine(id.trim())));
}

/** `12 MIT, 3 ISC`: the number of packages with each licence. */
function countLicences(packages: readonly LockedPackage[]): string {
  const counts = new Map<string, number>();
  for (const { license = "none" } of packages) counts.set(license, (counts.get(license) ?? 0) + 1);
  return [...counts]
    .sort(([, a], [, b]) => b - a)
    .map(([license, count]) => `${count} ${license}`)
    .join(", ");
}

function main(): void {
  const read = (name: string): string => readFileSync(join(import.meta.dirname, "..", name), "utf8");
  const { packages } = JSON.parse(read("package-lock.json")) as { packages: Record<string, LockedPackage> };
  const problems = dependencyProblems(JSON.parse(read("package.json")) as Manifest, packages, read(".npmrc"));
  for (const problem of problems) console.log(problem);
  const all = Object.entries(packages).flatMap(([path, entry]) => (path === "" ? [] : [entry]));
  const shipped = all.filter(({ dev }) => dev !== true);
  console.log(`shipped: ${countLicences(shipped)}`);
  console.log(`for development: ${countLicences(all.filter(({ dev }) => dev === true))}`);
  console.log(`${all.length} packages, ${problems.length} problems`);
  if (problems.length > 0) process.exitCode = 1;
}

if (isProgram(import.meta.filename)) main();
