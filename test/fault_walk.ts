/**
 * Lets a run fail at each of its fail points in turn: n = 1, 2, 3, ... until a run ends before its n-th one. After
 * every fault the disk must have the old state or the new one, never a mixture, and the run must be resumable.
 */

import { deepStrictEqual, notStrictEqual, ok, strictEqual } from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";
import { GpruneError } from "../src/errors.ts";
import { armFailPoints, type FailPoint, type FaultHook } from "../src/io/files/fail_points.ts";
import { attempt, type FaultRun, litter, outputHashes, startAnew } from "./fault_run.ts";

type Hashes = Readonly<Record<string, string>>;

/** Fail points where bytes are written or files renamed. */
export const WRITING: readonly FailPoint[] = [
  "before-write",
  "mid-write",
  "before-fsync",
  "before-rename",
  "after-rename",
  "before-manifest",
];
const EVERYWHERE: readonly FailPoint[] = [...WRITING, "before-read"];

/** An error and the fail points where it may happen. */
export interface FaultKind {
  readonly code: "ENOSPC" | "EIO";
  readonly points: readonly FailPoint[];
  /** Whether every later access fails as well, as on a full disk. */
  readonly persists?: boolean;
}

/** A full disk, a disk that fails while writing, and a disk that fails while reading or writing. */
export const KINDS: Readonly<Record<"full disk" | "failing writes" | "failing disk", FaultKind>> = {
  "full disk": { code: "ENOSPC", points: ["before-write", "mid-write"], persists: true },
  "failing writes": { code: "EIO", points: WRITING },
  "failing disk": { code: "EIO", points: EVERYWHERE },
};

/** A hook that fails at the n-th of the given fail points. Writes are halved, so that they can fail in the middle. */
export function failingAt(
  n: number,
  { points, persists = false }: Pick<FaultKind, "points" | "persists">,
  fail: () => number | undefined,
): { readonly hook: FaultHook; readonly passed: () => number } {
  let passed = 0;
  const hook: FaultHook = (point, _path, bytes) => {
    if (points.includes(point)) {
      passed += 1;
      if (passed === n || (persists && passed > n)) return fail();
    }
    return point === "before-write" ? Math.ceil(bytes / 2) : undefined;
  };
  return { hook, passed: () => passed };
}

/** A failed system call as Node reports it. */
function systemError(code: "ENOSPC" | "EIO"): Error {
  const errno = { ENOSPC: -28, EIO: -5 }[code];
  return Object.assign(new Error(`${code}: injected`), { code, errno, syscall: "write" });
}

/** Hashes of the output of an undisturbed run. */
export async function undisturbed(run: FaultRun): Promise<Hashes> {
  await startAnew(run);
  await attempt(run);
  return (await outputHashes(run))!;
}

/** One attempt with a hook. @returns its error; undefined when it succeeded */
async function attemptWith(run: FaultRun, hook: FaultHook): Promise<unknown> {
  armFailPoints(hook);
  try {
    await attempt(run);
    return undefined;
  } catch (error) {
    return error ?? new Error("no error");
  } finally {
    armFailPoints(null);
  }
}

/**
 * Lets a fresh run fail at its n-th fail point, resumes it undisturbed, and compares the output, for n = 1, 2, 3, ...
 * @param step - increment of n
 * @returns the number of faults
 */
export async function walkErrors(
  run: FaultRun,
  expected: Hashes,
  { step = 1, ...kind }: FaultKind & { readonly step?: number },
): Promise<number> {
  const { code } = kind;
  for (let n = 1, faults = 0; ; n += step) {
    await startAnew(run);
    const { hook, passed } = failingAt(n, kind, () => {
      throw systemError(code);
    });
    const error = await attemptWith(run, hook);
    if (passed() < n) {
      strictEqual(error, undefined);
      return faults;
    }
    faults += 1;
    requireExplained(error, code, n);
    requireOldOrNew(await outputHashes(run), expected, n);
    deepStrictEqual(await litter(run), [], `litter after ${code} at ${n}`);
    await attempt(run);
    deepStrictEqual(await outputHashes(run), expected, `after ${code} at ${n}`);
    deepStrictEqual(await litter(run), [], `litter after resuming from ${code} at ${n}`);
  }
}

/**
 * Lets every attempt at one run fail later than the previous one, until one succeeds. Attempts resume from the progress
 * of earlier ones.
 * @returns the number of faults
 */
export async function chainErrors(
  run: FaultRun,
  expected: Hashes,
  { step = 1, ...kind }: FaultKind & { readonly step?: number },
): Promise<number> {
  const { code } = kind;
  await startAnew(run);
  for (let n = 1, faults = 0; ; n += step, faults += 1) {
    const { hook } = failingAt(n, kind, () => {
      throw systemError(code);
    });
    const error = await attemptWith(run, hook);
    requireOldOrNew(await outputHashes(run), expected, n);
    deepStrictEqual(await litter(run), []);
    if (error === undefined) {
      notStrictEqual(await outputHashes(run), null);
      return faults;
    }
    requireExplained(error, code, n);
  }
}

/** Lets every `step`-th read and write move a single byte, for each phase. @returns the number of short calls */
export async function walkShortCalls(run: FaultRun, expected: Hashes, step: number): Promise<number> {
  let short = 0;
  for (let phase = 0; phase < step; phase++) {
    await startAnew(run);
    let calls = 0;
    const error = await attemptWith(run, (_point, _path, bytes) => {
      if (bytes === 0) return undefined;
      calls += 1;
      if (calls % step !== phase) return undefined;
      short += 1;
      return 1;
    });
    strictEqual(error, undefined);
    deepStrictEqual(await outputHashes(run), expected, `after short calls, phase ${phase}`);
  }
  return short;
}

/** Kills every attempt at one run later than the previous one, until one succeeds. @returns the number of kills */
export async function chainKills(run: FaultRun, expected: Hashes, step = 1): Promise<number> {
  await startAnew(run);
  for (let n = 1, faults = 0; ; n += step, faults += 1) {
    const ending = await attemptInChild(run, n);
    requireOldOrNew(await outputHashes(run), expected, n);
    if (ending === 0) {
      deepStrictEqual(await litter(run), []);
      notStrictEqual(await outputHashes(run), null);
      return faults;
    }
    strictEqual(ending, "SIGKILL");
  }
}

/** One attempt in a process that kills itself at its n-th fail point. @returns its signal or exit code */
async function attemptInChild(run: FaultRun, n: number): Promise<NodeJS.Signals | number | null> {
  const script = join(import.meta.dirname, "fault_child.ts");
  const commandLine = ["--import", "tsx", script, String(n), JSON.stringify(run)];
  const child = spawn(process.execPath, commandLine, { stdio: ["ignore", "inherit", "inherit"] });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => resolve(signal ?? code));
  });
}

function requireOldOrNew(found: Hashes | null, expected: Hashes, n: number): void {
  if (found !== null) deepStrictEqual(found, expected, `output after fault ${n}`);
}

/** Requires a `GpruneError` that names the cause and has a hint. */
function requireExplained(error: unknown, code: string, n: number): void {
  ok(error instanceof GpruneError, `fault ${n}: ${String(error)}`);
  ok(error.message.includes(code), `fault ${n}: ${error.message}`);
  ok(error.hint !== undefined, `fault ${n}: no hint with ${error.message}`);
}
