/**
 * The working directory of a run, OUT.run beside its output OUT. It holds what the run has computed so far, so that an
 * interrupted run can be resumed and produces the same bytes as an uninterrupted one.
 *
 *     lock              the process that holds the directory (lock.ts)
 *     manifest.json     facts that the run depends on, and size and SHA-256 of every valid file (manifest.ts)
 *     NAME.RANDOM.stage the value of a stage, or its last state
 *     NAME.RANDOM.spill tensors that do not fit into memory, private to a process (spill_file.ts)
 *     output/           the output while it is being written
 *
 * Every file is written under a temporary name, flushed and renamed, its directory is flushed, and only then is the
 * manifest replaced, in the same way, by one that names it. Files that the manifest does not name are ignored, and
 * files that do not have their hash are computed again.
 */
import { randomBytes } from "node:crypto";
import { rmdirSync } from "node:fs";
import { mkdir, readdir, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Checkpoints, interrupted, type Stages } from "../../base/stages.ts";
import { GpruneError } from "../../errors.ts";
import type { Scratch, Stash } from "../../tensor/stash.ts";
import { removeMade, syncMade } from "../files/durable.ts";
import { kindOfPath } from "../files/file.ts";
import { differences } from "../files/json_difference.ts";
import type { JsonValue } from "../files/json_document.ts";
import { isMountPoint } from "../files/mount_point.ts";
import {
  directoryPath,
  type KeptFiles,
  publishDirectory,
  replaceFileAtomically,
} from "../files/output_directory.ts";
import { errnoOf, outputFailed } from "../files/output_file.ts";
import { SpillFile } from "../files/spill_file.ts";
import { type Digest, digestFile, readValue, writeValue } from "../files/stage_file.ts";
import { RunLock } from "./lock.ts";
import { type Dependencies, MANIFEST, OUTPUT, RunManifest } from "./manifest.ts";

/** Least seconds between two states of a stage, and the largest share of time spent on writing them. */
const INTERVAL_SECONDS = 60;
const WRITING_SHARE = 0.05;

/** File name of the lock. */
export const LOCK = "lock";

/** Names of gprune's files in the directory, and the file that macOS adds to directories. */
const OWN_NAME =
  /^(\.DS_Store|manifest\.json|lock(\.([0-9a-f]+|takeover))?|output|[^.].*\.(stage|spill)|\..+\.tmp-[0-9a-f]{12})$/;

/** Called with the path of every directory that is claimed. */
let onClaimed: (directory: string) => void = () => {};

/** Sets the function that is called with the path of every directory that this process claims. */
export function onClaimedDirectory(listen: (directory: string) => void): void {
  onClaimed = listen;
}

/** Options of {@link RunDirectory.claim}. */
export interface RunOptions {
  /** Whether to resume an unfinished run, which is refused otherwise. */
  readonly resume?: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Least seconds between two states of a stage; 0 keeps all of them. 60 when absent. */
  readonly interval?: number | undefined;
}

/** Resources of a process that holds a run's directory. */
interface Claim extends RunOptions {
  readonly lock: RunLock;
  /** The topmost directory that was created to have the run's; null when that existed. */
  readonly madeFrom: string | null;
  readonly manifest: RunManifest;
}

/** A run's directory, held by this process. */
export class RunDirectory implements Stages, Scratch {
  readonly path: string;
  /** Seconds of computation that restored values and states have saved. */
  restoredSeconds = 0;
  readonly #options: RunOptions;
  readonly #lock: RunLock;
  readonly #madeFrom: string | null;
  readonly #manifest: RunManifest;
  /** Open spill files, by name. */
  readonly #spills = new Map<string, Stash>();
  /** Time from which the next state may be written, milliseconds of `performance.now()`. */
  #due: number;

  private constructor(path: string, { lock, madeFrom, manifest, ...options }: Claim) {
    this.path = path;
    this.#options = options;
    this.#lock = lock;
    this.#madeFrom = madeFrom;
    this.#manifest = manifest;
    this.#due = performance.now() + this.#interval;
  }

  /**
   * Creates or takes over the directory of the run that writes `output`.
   * @throws GpruneError LOCKED when another run holds it; OUTPUT_EXISTS when it has files of others, or an unfinished
   *   run and `resume` is not set; BAD_CHECKPOINT when its manifest is damaged; OUTPUT_FAILED, also when it is on
   *   another file system than the output
   */
  static async claim(output: string, options: RunOptions = {}): Promise<RunDirectory> {
    const path = await directoryPath(output);
    const directory = await directoryPath(`${path}.run`);
    await requireSameFileSystem(directory, dirname(path));
    return RunDirectory.claimAt(directory, options);
  }

  /**
   * Creates or takes over a run's directory at a given path.
   * @throws GpruneError as `claim`
   */
  static async claimAt(directory: string, options: RunOptions = {}): Promise<RunDirectory> {
    const path = await directoryPath(directory);
    const madeFrom =
      (await mkdir(path, { recursive: true }).catch((cause: unknown) => {
        throw outputFailed(path, cause);
      })) ?? null;
    let lock: RunLock | undefined;
    try {
      await requireOurs(path);
      lock = await RunLock.take(join(path, LOCK));
      const manifest = await RunManifest.open(path);
      if (manifest.entries.size > 0 && !options.resume) throw unfinished(path);
      const run = new RunDirectory(path, { ...options, lock, madeFrom, manifest });
      await run.#removeUnnamed();
      await syncMade(dirname(path), madeFrom === path ? null : madeFrom);
      onClaimed(path);
      return run;
    } catch (error) {
      await lock?.release();
      if (madeFrom !== null) removeEmpty(path, madeFrom);
      throw asOutputError(path, error);
    }
  }

  /**
   * Sets the facts that the run depends on; must be called before any stage.
   * @param others - `written`: settings that only the output's files depend on; if they have changed, kept output files
   *   are dropped. `limits`: resource limits, on which no result depends; a resumed run can read them
   * @throws GpruneError BAD_CHECKPOINT naming the differences when the kept progress depends on other facts
   */
  begin(
    facts: JsonValue,
    { written = null, limits = null }: Partial<Omit<Dependencies, "facts">> = {},
  ): void {
    const changes = this.hasProgress ? differences(this.#manifest.dependencies.facts, facts) : [];
    if (changes.length === 0) {
      this.#manifest.begin({ facts, written, limits });
      return;
    }
    const list = changes.map((change) => `\n  ${change}`).join("");
    throw new GpruneError(
      "BAD_CHECKPOINT",
      `${this.path}: expected the settings and inputs of the interrupted run, got${list}`,
      {
        hint: `Repeat the original command with --resume, or remove ${this.path} to start over.`,
      },
    );
  }

  async run<T, S = unknown>(name: string, compute: (checkpoints: Checkpoints<S>) => Promise<T>): Promise<T> {
    this.#throwIfAborted();
    const kept = await this.#read(name);
    if (kept !== undefined) return kept as T;
    const state = stateName(name);
    const before = this.#manifest.entries.get(state)?.seconds ?? 0;
    const start = performance.now();
    const seconds = (): number => before + (performance.now() - start) / 1000;
    const value = await compute({
      restore: async () => (await this.#read(state)) as S | undefined,
      reached: async (current) => {
        const isAborted = this.#options.signal?.aborted ?? false;
        if (!isAborted && performance.now() < this.#due) return;
        await this.#keep(state, current(), { seconds: seconds() });
        this.#throwIfAborted();
      },
    });
    await this.#keep(name, value, { seconds: seconds(), replaces: state });
    return value;
  }

  async openStash(name: string): Promise<Stash> {
    const file = fileName(name, "spill");
    const stash = await SpillFile.create(join(this.path, file));
    this.#spills.set(file, stash);
    return stash;
  }

  /**
   * Writes a directory in one step, as `writeDirectoryAtomically` does, but resumes with the files of an interrupted
   * run.
   * @throws GpruneError OUTPUT_EXISTS, OUTPUT_FAILED; errors of `fill` that are not about writing pass through
   */
  async writeOutput(
    target: string,
    fill: (directory: string, kept: KeptFiles) => Promise<void>,
  ): Promise<void> {
    this.#throwIfAborted();
    const directory = join(this.path, OUTPUT);
    try {
      await this.#removeUnnamed();
      await mkdir(directory, { recursive: true });
      await fill(directory, {
        has: (name) => this.#hasFile(`${OUTPUT}/${name}`),
        add: (name) => this.#addFile(`${OUTPUT}/${name}`),
      });
    } catch (cause) {
      throw asOutputError(target, cause);
    }
    await publishDirectory(directory, target);
  }

  /** Whether the directory has progress to resume from. */
  get hasProgress(): boolean {
    return this.#manifest.entries.size > 0;
  }

  /** Total bytes of the kept files. */
  get keptBytes(): number {
    return Array.from(this.#manifest.entries.values()).reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Forgets all progress, once the output is complete. */
  clear(): void {
    this.#manifest.clear();
  }

  /** Releases the directory: keeps it if it has progress, else removes it. Never throws. */
  async leave(): Promise<void> {
    try {
      for (const stash of this.#spills.values()) await stash.close();
      this.#spills.clear();
      await this.#removeUnnamed();
    } catch {
      // The error that ended the run is the one worth reporting, and the next run cleans up.
    }
    await this.#lock.release().catch(() => {});
    if (!this.hasProgress) removeEmpty(this.path, this.#madeFrom);
  }

  get #interval(): number {
    return 1000 * (this.#options.interval ?? INTERVAL_SECONDS);
  }

  /** @throws GpruneError INTERRUPTED when the signal is aborted */
  #throwIfAborted(): void {
    const { signal } = this.#options;
    if (!signal?.aborted) return;
    throw interrupted(
      signal,
      this.hasProgress ? `Progress is kept in ${this.path}.` : "No progress was saved yet.",
    );
  }

  /** Reads a value or state; undefined when there is none or it is damaged. */
  async #read(name: string): Promise<unknown> {
    const entry = this.#manifest.entries.get(name);
    if (entry === undefined) return undefined;
    const path = join(this.path, entry.file);
    const value = (await kindOfPath(path)) === "file" ? await readValue(path, entry) : undefined;
    if (value !== undefined) this.restoredSeconds += entry.seconds;
    return value;
  }

  /** Writes a value or state, adds it to the manifest, and removes the file of the previous state. */
  async #keep(
    name: string,
    value: unknown,
    { seconds, replaces = "" }: { readonly seconds: number; readonly replaces?: string },
  ): Promise<void> {
    const start = performance.now();
    const file = fileName(name, "stage");
    let digest: Digest = { bytes: 0, sha256: "" };
    await replaceFileAtomically(join(this.path, file), async (output) => {
      digest = await writeValue(output, value, { onDemand: true });
    });
    const { entries } = this.#manifest;
    const entry = { file, ...digest, seconds: Math.round(seconds * 1000) / 1000 };
    await this.#manifest.put(name, entry, replaces);
    for (const old of [entries.get(name), entries.get(replaces)])
      if (old !== undefined) await rm(join(this.path, old.file), { force: true });
    const now = performance.now();
    const writingInterval = this.#interval === 0 ? 0 : (now - start) / WRITING_SHARE;
    this.#due = now + Math.max(this.#interval, writingInterval);
  }

  /** Whether a kept file of the output is intact; removes it if not. */
  async #hasFile(file: string): Promise<boolean> {
    const entry = this.#manifest.entries.get(file);
    const path = join(this.path, file);
    if (entry === undefined || (await kindOfPath(path)) !== "file") return false;
    const { bytes, sha256 } = await digestFile(path);
    if (bytes === entry.bytes && sha256 === entry.sha256) return true;
    await rm(path);
    return false;
  }

  async #addFile(file: string): Promise<void> {
    const entry = { file, ...(await digestFile(join(this.path, file))), seconds: 0 };
    await this.#manifest.put(file, entry);
    this.#throwIfAborted();
  }

  /** Removes all files that the manifest does not name: temporaries, and values that are no longer needed. */
  async #removeUnnamed(): Promise<void> {
    if (!this.#manifest.isKnown) return;
    const named = new Set([LOCK, ...Array.from(this.#manifest.entries.values(), ({ file }) => file)]);
    if (named.size > 1) named.add(MANIFEST);
    if ([...named].some((file) => file.startsWith(`${OUTPUT}/`))) named.add(OUTPUT);
    for (const file of this.#spills.keys()) named.add(file);
    const output = join(this.path, OUTPUT);
    const inOutput = (await kindOfPath(output)) === "directory" ? await readdir(output) : [];
    // The manifest is removed first: without it all other files are ignored.
    const names = (await readdir(this.path)).sort((a, b) => Number(b === MANIFEST) - Number(a === MANIFEST));
    for (const name of [...names, ...inOutput.map((file) => `${OUTPUT}/${file}`)]) {
      if (!named.has(name) && !name.startsWith(`${LOCK}.`))
        await rm(join(this.path, name), { recursive: true, force: true });
    }
  }
}

/** The directory with the progress of an unfinished run that writes `output`; null when there is none. */
export async function keptProgress(output: string): Promise<string | null> {
  const path = `${await directoryPath(output)}.run`;
  return (await holdsProgress(path)) ? path : null;
}

/** Whether a run's directory has progress to resume from. */
export async function holdsProgress(directory: string): Promise<boolean> {
  return (await kindOfPath(join(directory, MANIFEST))) === "file";
}

/** @throws GpruneError OUTPUT_EXISTS when there is progress of an unfinished run that writes `output` */
export async function requireNothingKept(output: string): Promise<void> {
  const kept = await keptProgress(output);
  if (kept !== null) throw unfinished(kept);
}

function fileName(name: string, kind: "stage" | "spill"): string {
  return `${name.replaceAll(/[^A-Za-z0-9-]+/g, "-")}.${randomBytes(6).toString("hex")}.${kind}`;
}

/** Name of a stage's last state in the manifest. */
function stateName(stage: string): string {
  return `${stage} so far`;
}

/** @throws GpruneError OUTPUT_EXISTS for a directory with files of others */
async function requireOurs(path: string): Promise<void> {
  const foreign = (await readdir(path)).find((name) => !OWN_NAME.test(name));
  if (foreign === undefined) return;
  const message = `${path}: expected a directory with the progress of a run, got one that contains ${foreign}`;
  throw new GpruneError("OUTPUT_EXISTS", message, {
    hint: "Choose another output or move the directory away.",
  });
}

/**
 * Checks that the output can be renamed from the run's directory to its place, which needs a common file system.
 * @param directory - of the run; one that does not exist passes, because it will be created beside the output
 * @throws GpruneError OUTPUT_FAILED
 */
async function requireSameFileSystem(directory: string, place: string): Promise<void> {
  const [source, target] = await Promise.all([directory, place].map((path) => stat(path).catch(() => null)));
  if (!source?.isDirectory() || !target) return;
  if (source.dev === target.dev && !(await isMountPoint(directory))) return;
  const message = `${directory}: expected a directory on the same file system as the output in ${place}, got another file system`;
  const hint =
    "Choose an output on the file system of this directory, or move its contents next to the output.";
  throw new GpruneError("OUTPUT_FAILED", message, { hint });
}

function unfinished(path: string): GpruneError {
  return new GpruneError("OUTPUT_EXISTS", `${path}: expected no unfinished run, got one`, {
    hint: `Continue it with --resume, or remove ${path} to start over.`,
  });
}

/** Error OUTPUT_FAILED for a failed system call; anything else unchanged. */
function asOutputError(output: string, cause: unknown): unknown {
  return errnoOf(cause) === undefined ? cause : outputFailed(output, cause);
}

/**
 * Removes an empty run directory, and the directories that were created for it. Keeps directories with files of others.
 */
function removeEmpty(path: string, madeFrom: string | null): void {
  try {
    rmdirSync(path);
    removeMade(dirname(path), madeFrom === path ? null : madeFrom);
  } catch {
    // Another process uses it by now.
  }
}
