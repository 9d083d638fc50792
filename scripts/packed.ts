/**
 * Checks the contents of the package to publish, with `npm pack --dry-run`. Needs a build in dist/.
 *
 * Usage: node --import tsx scripts/packed.ts
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** Files that the package must have. */
const REQUIRED = [
  "LICENSE",
  "README.md",
  "CHANGELOG.md",
  "package.json",
  "dist/index.js",
  "dist/index.d.ts",
  "dist/workers/index.js",
  "dist/workers/index.d.ts",
  // Programs of child processes and threads, which nothing imports.
  "dist/workers/unit_child.js",
  "dist/io/texts/parquet_child.js",
  "dist/evaluate/peak_memory_child.js",
  "dist/jinja/thread.js",
  // Read at run time.
  "dist/page/index.html",
  "resources/modeling_gprune.py",
  "resources/report.css",
  "resources/report.js",
  "demo/model/model.safetensors",
  "demo/texts/heldout/code.txt",
  // The first step of the tutorial.
  "scripts/get-smollm2",
];
/** Files that the package must not have. */
const FORBIDDEN =
  /[.]test[.]|[.]tsbuildinfo$|^(src|test|bench(?![/]results[/])|scripts(?![/]get-smollm2$)|docs[/]api|node_modules)[/]/;
/** Targets of links in README.md that only the repository has. */
const REPOSITORY_ONLY = /^(ARCHITECTURE|CONTRIBUTING)[.]md$|^(src|test|bench)[/].*[.]ts$/;

interface Packed {
  readonly unpackedSize: number;
  readonly files: readonly { readonly path: string }[];
}

function pack(): Packed {
  const args = ["pack", "--dry-run", "--json"];
  const output = execFileSync("npm", args, { encoding: "utf8", maxBuffer: 2 ** 26 });
  const parsed: unknown = JSON.parse(output);
  // npm prints a list, or from version 12 on an object with one entry per package.
  const [packed] = Object.values(parsed as Record<string, Packed>);
  if (packed === undefined) {
    throw new Error(`npm pack: expected one package, got ${output}`);
  }
  return packed;
}

/** Paths that the package must have: {@link REQUIRED}, programs of package.json, and links of README.md. */
function requiredPaths(): string[] {
  const { bin } = JSON.parse(readFileSync("package.json", "utf8")) as { bin: Record<string, string> };
  return [...REQUIRED, ...Object.values(bin), ...linkedPaths()];
}

function linkedPaths(): string[] {
  const links = readFileSync("README.md", "utf8").matchAll(/\]\((?!https?:|#)([^)#]+)/g);
  return [...new Set(Array.from(links, ([, path]) => path!))].filter((path) => !REPOSITORY_ONLY.test(path));
}

function main(): number {
  const { files, unpackedSize } = pack();
  const paths = files.map((file) => file.path);
  const problems = [
    ...requiredPaths()
      .filter((path) => !paths.some((packed) => packed === path || packed.startsWith(`${path}/`)))
      .map((path) => `${path}: expected in the package`),
    ...paths.filter((path) => FORBIDDEN.test(path)).map((path) => `${path}: expected not in the package`),
  ];
  for (const problem of problems) {
    console.log(problem);
  }
  const size = (unpackedSize / 1e6).toFixed(1);
  console.log(`packed: ${paths.length} files, ${size} MB unpacked, ${problems.length} problems`);
  return problems.length === 0 ? 0 : 1;
}

process.exitCode = main();
