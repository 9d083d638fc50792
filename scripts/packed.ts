/**
 * Checks the contents of the package to publish, with `npm pack --dry-run`. Needs a build in dist/.
 *
 * Usage: node --import tsx scripts/packed.ts
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Files that the package must have. */
const REQUIRED = [
  "LICENSE",
  "README.md",
  "CHANGELOG.md",
  "package.json",
  "dist/index.js",
  "dist/types/index.d.ts",
  "dist/workers.js",
  "dist/types/workers/index.d.ts",
  // Programs of child processes and threads, which nothing imports.
  "dist/unit_child.js",
  "dist/parquet_child.js",
  "dist/peak_memory_child.js",
  "dist/template_thread.js",
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

/** Declarations of entry points. */
const ENTRY_TYPES: ReadonlySet<string> = new Set(["dist/types/index.d.ts", "dist/types/workers/index.d.ts"]);

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

/** Packages that the declarations of an entry point import and that would not be installed with it. */
function missingTypes(entry: string, read: (path: string) => string): string[] {
  const { dependencies } = JSON.parse(read("package.json")) as { dependencies: Record<string, string> };
  const paths = [entry];
  const missing: string[] = [];
  for (const path of paths) {
    for (const [, from] of read(path).matchAll(/^(?! *[*]).*(?:from |import\()"([^"]+)"/gm)) {
      const declaration = join(dirname(path), from!).replace(/[.](?:js|ts)$/, ".d.ts");
      const name = from!.match(/^(?:@[^/]+[/])?[^/]+/)![0];
      if (from!.startsWith(".")) {
        if (!paths.includes(declaration)) paths.push(declaration);
      } else if (!(from!.startsWith("node:") || name in dependencies)) {
        missing.push(`${path}: expected types of gprune or a dependency, got those of ${from}`);
      }
    }
  }
  return missing;
}

function main(): number {
  const { files, unpackedSize } = pack();
  const paths = files.map((file) => file.path);
  const problems = [
    ...requiredPaths()
      .filter((path) => !paths.some((packed) => packed === path || packed.startsWith(`${path}/`)))
      .map((path) => `${path}: expected in the package`),
    ...paths.filter((path) => FORBIDDEN.test(path)).map((path) => `${path}: expected not in the package`),
    ...paths
      .filter((path) => ENTRY_TYPES.has(path))
      .flatMap((path) => missingTypes(path, (file) => readFileSync(file, "utf8"))),
  ];
  for (const problem of problems) {
    console.log(problem);
  }
  const size = (unpackedSize / 1e6).toFixed(1);
  console.log(`packed: ${paths.length} files, ${size} MB unpacked, ${problems.length} problems`);
  return problems.length === 0 ? 0 : 1;
}

process.exitCode = main();
