/** The client programs that load models: how they are installed, and how they are run. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Answer, Case, Line } from "./program.ts";

const HERE = import.meta.dirname;
const VENV = join(HERE, "venv");

/** A program that loads models; `gprune` is the reference. */
export type ClientName =
  | "gprune"
  | "transformers"
  | "vllm"
  | "llama.cpp"
  | "onnxruntime-node"
  | "transformers.js";

/** Paths of the Python of each client that needs one. */
export type Pythons = Readonly<Partial<Record<ClientName, string>>>;

/** How a client is run. */
interface Client {
  readonly program: string;
  /** The npm package with its version; null for gprune and for Python. */
  readonly npm: string | null;
  /** Error of the program when its package has no binary for this machine. */
  readonly noBinary?: RegExp;
}

const CLIENTS: Readonly<Record<ClientName, Client>> = {
  gprune: { program: "gprune.ts", npm: null },
  transformers: { program: "run_transformers.py", npm: null },
  vllm: { program: "run_vllm.py", npm: null },
  "llama.cpp": { program: "llama_cpp.mjs", npm: "node-llama-cpp" },
  "onnxruntime-node": {
    program: "onnxruntime.mjs",
    npm: "onnxruntime-node",
    noBinary: /Cannot find module '[^']*onnxruntime_binding[.]node'/,
  },
  "transformers.js": {
    program: "transformers_js.mjs",
    npm: "@huggingface/transformers",
    noBinary: /Could not load the "sharp" module/,
  },
};

/** Answer or error of a client for each case by id, or why the client cannot run on this machine. */
export type Answers =
  | { readonly unavailable: null; readonly byId: ReadonlyMap<string, Answer | { readonly error: string }> }
  | { readonly unavailable: string };

/** Runs a client. If its program dies, it is started again with the cases after the one that killed it. */
export function askClient(name: ClientName, cases: readonly Case[], pythons: Pythons = {}): Answers {
  const byId = new Map<string, Answer | { readonly error: string }>();
  let left = cases;
  while (left.length > 0) {
    const { lines, death } = runProgram(name, left, pythons[name]);
    for (const line of lines) {
      if ("unavailable" in line) return unavailableHere(line.unavailable);
      byId.set(line.id, line);
    }
    left = left.filter(({ id }) => !byId.has(id));
    if (left.length === 0) break;
    const unavailable = CLIENTS[name].noBinary?.exec(death);
    if (unavailable != null) return unavailableHere(unavailable[0]);
    byId.set(left[0]!.id, { error: death });
    left = left.slice(1);
  }
  return { unavailable: null, byId };
}

function unavailableHere(reason: string): Answers {
  return { unavailable: `its package has no binary for ${process.platform}-${process.arch} (${reason})` };
}

function runProgram(
  name: ClientName,
  cases: readonly Case[],
  python: string | undefined,
): { readonly lines: readonly Line[]; readonly death: string } {
  const { program } = CLIENTS[name];
  const scratch = mkdtempSync(join(tmpdir(), "gprune-ask-"));
  const [list, answers] = [join(scratch, "cases.json"), join(scratch, "answers.jsonl")];
  writeFileSync(list, JSON.stringify(cases));
  const [command, ...runner] = program.endsWith(".py") ? [python!] : [process.execPath, "--import", "tsx"];
  const args = [...runner, join(HERE, program), list, answers];
  const { status, signal, error, stderr } = spawnSync(command, args, {
    stdio: ["ignore", "ignore", "pipe"],
    encoding: "utf8",
    maxBuffer: 2 ** 28,
  });
  const text = existsSync(answers) ? readFileSync(answers, "utf8").trim() : "";
  rmSync(scratch, { recursive: true });
  const lines = text === "" ? [] : text.split("\n").map((line) => JSON.parse(line) as Line);
  const death = error?.message ?? `ended with ${signal ?? `exit code ${status}`}: ${firstError(stderr)}`;
  return { lines, death };
}

/** The most informative line of an error output. */
function firstError(stderr: string): string {
  const lines = stderr.split("\n").filter((line) => line.trim() !== "");
  return lines.find((line) => /^\w*Error\b/.test(line)) ?? lines.at(-1) ?? "no error text";
}

/** Installs the npm packages of the lock file beside this file, unless they are installed. Runs no install scripts. */
export function installNodeClients(): void {
  const [lock, done] = [join(HERE, "package-lock.json"), join(HERE, "node_modules", ".package-lock.json")];
  if (existsSync(done) && statSync(done).mtimeMs >= statSync(lock).mtimeMs) return;
  run("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"], "the npm clients");
}

/**
 * Installs transformers in a virtual environment beside this file, unless it is installed.
 * @returns the path of its Python
 */
export function installPython(): string {
  const python = join(VENV, process.platform === "win32" ? "Scripts/python.exe" : "bin/python");
  const requirements = join(HERE, "requirements.txt");
  const done = join(VENV, "requirements.txt");
  const wanted = readFileSync(requirements, "utf8");
  if (existsSync(done) && readFileSync(done, "utf8") === wanted) return python;
  run("python3", ["-m", "venv", VENV], "a virtual environment");
  run(python, ["-m", "pip", "install", "--quiet", "-r", requirements], "the Python clients");
  writeFileSync(done, wanted);
  return python;
}

function run(command: string, args: readonly string[], what: string): void {
  console.error(`installing ${what}`);
  const { status, error } = spawnSync(command, args, { cwd: HERE, stdio: ["ignore", "inherit", "inherit"] });
  if (status !== 0) {
    throw new Error(
      `${what}: expected ${command} to install them, got ${error?.message ?? `exit code ${status}`}`,
    );
  }
}

/** Versions of the installed clients, by name. */
export function clientVersions(pythons: Pythons): Readonly<Record<string, string>> {
  const npm = Object.values(CLIENTS).flatMap(({ npm: name }) => (name === null ? [] : [name]));
  const versions = npm.map((name) => {
    const path = join(HERE, "node_modules", name, "package.json");
    return [name, (JSON.parse(readFileSync(path, "utf8")) as { version: string }).version] as const;
  });
  const { transformers, vllm } = pythons;
  return {
    ...Object.fromEntries(versions),
    ...(transformers === undefined ? {} : pythonVersions(transformers)),
    ...(vllm === undefined ? {} : vllmVersions(vllm)),
  };
}

/** Version of vLLM, with that of its transformers. @throws Error when the Python lacks vLLM */
function vllmVersions(python: string): Readonly<Record<"vLLM", string>> {
  const [vllm, transformers] = versionsOf(python, ["vllm", "transformers"]);
  return { vLLM: `${vllm} (transformers ${transformers})` };
}

/** Versions of transformers and torch. @throws Error when the Python lacks a package */
export function pythonVersions(python: string): Readonly<Record<"transformers" | "torch", string>> {
  const [transformers, torch] = versionsOf(python, ["transformers", "torch"]);
  return { transformers: transformers!, torch: torch! };
}

function versionsOf(python: string, packages: readonly string[]): readonly string[] {
  const list = packages.map((name) => `${name}.__version__`).join(", ");
  const program = `import json, ${packages.join(", ")}; print(json.dumps([${list}]))`;
  const { status, stdout, stderr, error } = spawnSync(python, ["-c", program], { encoding: "utf8" });
  if (status !== 0) {
    const got = error?.message ?? firstError(stderr);
    throw new Error(`${python}: expected a Python with ${packages.join(" and ")}, got ${got}`);
  }
  return JSON.parse(stdout.trim().split("\n").at(-1)!) as readonly string[];
}
