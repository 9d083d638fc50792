/** Runs the compiled command line in a process of its own, as a user does. */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import { CLI } from "./compile.ts";

const ROOT = join(import.meta.dirname, "..");

/** Options of the fastest prune: scores from weights alone, and no recovery. */
export const BY_WEIGHTS: readonly string[] = [
  ...["--method", "none"],
  ...["--metric", "magnitude"],
  ...["--recover", "none"],
];

export interface CliResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running command. */
export interface CliRun {
  readonly child: ChildProcess;
  /** Resolves when stderr contains the text. */
  said(text: string): Promise<void>;
  readonly result: Promise<CliResult>;
}

/** Runs `gprune ARGUMENTS` in the project's directory. */
export async function gprune(...commandLine: readonly string[]): Promise<CliResult> {
  return startCli(commandLine).result;
}

/** Variables of this process without those that change what the command line does or prints, and `more`. */
export function cliEnvironment(
  more: Readonly<Record<string, string>> = {},
): Record<string, string | undefined> {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(?:HF|ORT)_|^FORCE_COLOR$/.test(name));
  return { ...Object.fromEntries(inherited), ...more, NO_COLOR: "1" };
}

/**
 * Starts `gprune ARGUMENTS`.
 * @param environment - variables besides those of `cliEnvironment`
 * @param streams - file descriptors for stdin, stdout and stderr; output to a file is not in the result
 */
export function startCli(
  commandLine: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  streams: { readonly stdin?: number; readonly outputs?: readonly ("pipe" | number)[] } = {},
): CliRun {
  const { stdin = "ignore", outputs = ["pipe", "pipe"] } = streams;
  const child = spawn(process.execPath, [CLI, ...commandLine], {
    cwd: ROOT,
    env: cliEnvironment(environment),
    stdio: [stdin, ...outputs],
  });
  let stdout = "";
  let stderr = "";
  const listeners = new Set<() => void>();
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
    for (const listener of listeners) listener();
  });
  const result = new Promise<CliResult>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, stdout, stderr }));
  });
  const said = (text: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const check = (): void => {
        if (stderr.includes(text)) resolve();
      };
      listeners.add(check);
      check();
      void result.then(() => reject(new Error(`expected "${text}" on stderr, got ${stderr}`)));
    });
  return { child, said, result };
}

/** SHA-256 of files of a directory, by name. */
export async function hashes(
  directory: string,
  names: readonly string[] = ["model.safetensors", "plan.json"],
): Promise<Record<string, string>> {
  const entries = names.map(async (name) => {
    const bytes = await readFile(join(directory, name));
    return [name, createHash("sha256").update(bytes).digest("hex")] as const;
  });
  return Object.fromEntries(await Promise.all(entries));
}

/** The JSON document on stdout. */
export function json(result: CliResult): Record<string, unknown> {
  expect(result).toMatchObject({ code: 0 });
  return JSON.parse(result.stdout) as Record<string, unknown>;
}

/** Lines of stdout. */
export function lines({ stdout }: CliResult): readonly string[] {
  return stdout.trimEnd().split("\n");
}
