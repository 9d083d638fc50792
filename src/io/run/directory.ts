/**
 * The working directory of a run, OUT.run beside its output OUT: what the run has computed so far, so that it can be
 * gone on with after any interruption and ends with the bytes of an uninterrupted one.
 *
 *     lock              who works on it (lock.ts)
 *     manifest.json     what the run depends on, and the size and SHA-256 of every file that counts
 *     NAME.RANDOM.stage the value of a stage, or its last state
 *     NAME.RANDOM.spill what does not fit into memory, for this process alone (spill_file.ts)
 *     output/           the output while it is being written
 *
 * Every file is written under a temporary name, flushed and renamed, its directory is flushed, and only then the
 * manifest names it, in the same way. What the manifest does not name is nothing, and what does not have its hash is
 * computed anew.
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

/** Seconds between two states of a stage, at least; and the share of the time that writing them may take. */
const INTERVAL_SECONDS = 60;
const WRITING_SHARE = 0.05;

export const LOCK = "lock";

/** Everything of ours that can be in the directory, and what macOS leaves in one that was opened. */
const OWN_NAME =
  /^(\.DS_Store|manifest\.json|lock(\.([0-9a-f]+|takeover))?|output|[^.].*\.(stage|spill)|\..+\.tmp-[0-9a-f]{12})$/;

export interface RunOptions {
  /** Whether a run that is there is gone on with; otherwise it is refused. */
  readonly resume?: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Seconds between two states of a stage, at least; 0 keeps all of them. 60 when absent. */
  readonly interval?: number | undefined;
}

/** What a process has when it holds a run's directory. */
interface Claim extends RunOptions {
  readonly lock: RunLock;
  /** The topmost directory that was made to have it; null when there was one. */
  readonly madeFrom: string | null;
  readonly manifest: RunManifest;
}

/** A run's directory, held by this process. */
export class RunDirectory implements Stages, Scratch {
  readonly path: string;
  /** Seconds that stages would have taken if they had not been kept. */
  restoredSeconds = 0;
  readonly #options: RunOptions;
  readonly #lock: RunLock;
  readonly #madeFrom: string | null;
  readonly #manifest: RunManifest;
  /** Files that are in use, by name. */
  readonly #spills = new Map<string, Stash>();
  /** When the next state may be written, milliseconds of `performance.now()`. */
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
   * Makes or takes over the directory of the run that writes `output`.
   * @throws GpruneError LOCKED when another run holds it; OUTPUT_EXISTS when it is not ours, or holds a run that is not
   *   to be resumed; BAD_CHECKPOINT when its manifest is damaged; OUTPUT_FAILED, also when it is on another file system
   *   than the output
   */
  static async claim(output: string, options: RunOptions = {}): Promise<RunDirectory> {
    const path = await directoryPath(output);
    const directory = await directoryPath(`${path}.run`);
    await requireSameFileSystem(directory, dirname(path));
    return RunDirectory.claimAt(directory, options);
  }

  /**
   * The same for a directory that the user has named.
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
      return run;
    } catch (error) {
      await lock?.release();
      if (madeFrom !== null) removeEmpty(path, madeFrom);
      throw explained(path, error);
    }
  }

  /**
   * Says what the run depends on; nothing may be kept before.
   * @param beside - `written`: settings that only the output's files depend on; if they have changed, output files that
   *   were kept are dropped. `limits`: limits of resources, on which no result depends; a resumed run can read them
   * @throws GpruneError BAD_CHECKPOINT naming what differs when something is kept that depends on something else
   */
  begin(
    facts: JsonValue,
    { written = null, limits = null }: Partial<Omit<Dependencies, "facts">> = {},
  ): void {
    const changes = this.hasProgress ? differences(this.#manifest.facts, facts) : [];
    if (changes.length === 0) {
      this.#manifest.begin({ facts, written, limits });
      return;
    }
    const list = changes.map((change) => `\n  ${change}`).join("");
    throw new GpruneError("BAD_CHECKPOINT", `${this.path}: expected to go on with the same run, got${list}`, {
      hint: `Repeat the command that began it, or remove ${this.path} to start anew.`,
    });
  }

  async run<T, S = unknown>(name: string, compute: (checkpoints: Checkpoints<S>) => Promise<T>): Promise<T> {
    this.#stopIfAsked();
    const kept = await this.#read(name);
    if (kept !== undefined) return kept as T;
    const state = stateName(name);
    const before = this.#manifest.entries.get(state)?.seconds ?? 0;
    const start = performance.now();
    const seconds = (): number => before + (performance.now() - start) / 1000;
    const value = await compute({
      restore: async () => (await this.#read(state)) as S | undefined,
      reached: async (current) => {
        const stops = this.#options.signal?.aborted ?? false;
        if (!stops && performance.now() < this.#due) return;
        await this.#keep(state, current(), { seconds: seconds() });
        this.#stopIfAsked();
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
   * Writes a directory in one step, as `writeDirectoryAtomically` does, but goes on with what an interrupted run wrote.
   * @throws GpruneError OUTPUT_EXISTS, OUTPUT_FAILED; errors of `fill` that are not about writing pass through
   */
  async writeOutput(
    target: string,
    fill: (directory: string, kept: KeptFiles) => Promise<void>,
  ): Promise<void> {
    this.#stopIfAsked();
    const directory = join(this.path, OUTPUT);
    try {
      await this.#removeUnnamed();
      await mkdir(directory, { recursive: true });
      await fill(directory, {
        has: (name) => this.#hasFile(`${OUTPUT}/${name}`),
        add: (name) => this.#addFile(`${OUTPUT}/${name}`),
      });
    } catch (cause) {
      throw explained(target, cause);
    }
    await publishDirectory(directory, target);
  }

  /** Whether there is anything to go on with. */
  get hasProgress(): boolean {
    return this.#manifest.entries.size > 0;
  }

  /** Bytes of the files that there are to go on with. */
  get keptBytes(): number {
    return Array.from(this.#manifest.entries.values()).reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Forgets all of it, once the output is safe. */
  clear(): void {
    this.#manifest.clear();
  }

  /** Lets go of it: what counts stays, and all of it goes when nothing does. Never throws. */
  async leave(): Promise<void> {
    try {
      for (const stash of this.#spills.values()) await stash.close();
      this.#spills.clear();
      await this.#removeUnnamed();
      await this.#lock.release();
      if (!this.hasProgress) removeEmpty(this.path, this.#madeFrom);
    } catch {
      // Whatever ended the run is the error worth reporting, and the next run tidies up.
    }
  }

  get #interval(): number {
    return 1000 * (this.#options.interval ?? INTERVAL_SECONDS);
  }

  /** @throws GpruneError INTERRUPTED when the run is to stop */
  #stopIfAsked(): void {
    const { signal } = this.#options;
    if (!signal?.aborted) return;
    throw interrupted(signal, this.hasProgress ? `Progress is in ${this.path}.` : "Nothing was kept yet.");
  }

  /** The value of an entry; undefined when there is none or it is damaged. */
  async #read(name: string): Promise<unknown> {
    const entry = this.#manifest.entries.get(name);
    if (entry === undefined) return undefined;
    const path = join(this.path, entry.file);
    const value = (await kindOfPath(path)) === "file" ? await readValue(path, entry) : undefined;
    if (value !== undefined) this.restoredSeconds += entry.seconds;
    return value;
  }

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
    const writing = this.#interval === 0 ? 0 : (now - start) / WRITING_SHARE;
    this.#due = now + Math.max(this.#interval, writing);
  }

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
    this.#stopIfAsked();
  }

  /** Removes what the manifest does not name: temporaries and values that were never or are no longer of use. */
  async #removeUnnamed(): Promise<void> {
    if (!this.#manifest.isKnown) return;
    const named = new Set([LOCK, ...Array.from(this.#manifest.entries.values(), ({ file }) => file)]);
    if (named.size > 1) named.add(MANIFEST);
    if ([...named].some((file) => file.startsWith(`${OUTPUT}/`))) named.add(OUTPUT);
    for (const file of this.#spills.keys()) named.add(file);
    const output = join(this.path, OUTPUT);
    const inOutput = (await kindOfPath(output)) === "directory" ? await readdir(output) : [];
    // The manifest goes first: without it the rest is nothing.
    const names = (await readdir(this.path)).sort((a, b) => Number(b === MANIFEST) - Number(a === MANIFEST));
    for (const name of [...names, ...inOutput.map((file) => `${OUTPUT}/${file}`)]) {
      if (!named.has(name) && !name.startsWith(`${LOCK}.`))
        await rm(join(this.path, name), { recursive: true, force: true });
    }
  }
}

/** The directory that holds the progress of a run which did not finish; null when there is none. */
export async function keptProgress(output: string): Promise<string | null> {
  const path = `${await directoryPath(output)}.run`;
  return (await kindOfPath(join(path, MANIFEST))) === "file" ? path : null;
}

/** @throws GpruneError OUTPUT_EXISTS when something is kept of an unfinished run that writes `output` */
export async function requireNothingKept(output: string): Promise<void> {
  const kept = await keptProgress(output);
  if (kept !== null) throw unfinished(kept);
}

function fileName(name: string, kind: "stage" | "spill"): string {
  return `${name.replaceAll(/[^A-Za-z0-9-]+/g, "-")}.${randomBytes(6).toString("hex")}.${kind}`;
}

function stateName(stage: string): string {
  return `${stage} so far`;
}

/** @throws GpruneError OUTPUT_EXISTS for a directory with files of others */
async function requireOurs(path: string): Promise<void> {
  const foreign = (await readdir(path)).find((name) => !OWN_NAME.test(name));
  if (foreign === undefined) return;
  const message = `${path}: expected a directory for the progress of a run, got one with ${foreign} in it`;
  throw new GpruneError("OUTPUT_EXISTS", message, { hint: "Choose another output, or move it away." });
}

/**
 * The output is renamed from a run's directory to its place, which no file system does for another one.
 * @param directory - of the run; what is not there yet is made beside the output
 * @throws GpruneError OUTPUT_FAILED
 */
async function requireSameFileSystem(directory: string, place: string): Promise<void> {
  const [own, other] = await Promise.all([directory, place].map((path) => stat(path).catch(() => null)));
  if (!own?.isDirectory() || !other) return;
  if (own.dev === other.dev && !(await isMountPoint(directory))) return;
  const message = `${directory}: expected a directory on the file system of ${place}, where the output goes, got one on another`;
  const hint = "Choose an output on that file system, or move what is in the directory beside this one.";
  throw new GpruneError("OUTPUT_FAILED", message, { hint });
}

function unfinished(path: string): GpruneError {
  return new GpruneError("OUTPUT_EXISTS", `${path}: expected no unfinished run, got one`, {
    hint: `Go on with it by --resume, or remove ${path} to start anew.`,
  });
}

/** A failed call of the file system as an error of the output; anything else as it is. */
function explained(output: string, cause: unknown): unknown {
  return errnoOf(cause) === undefined ? cause : outputFailed(output, cause);
}

/**
 * Removes an empty directory of a run, and the directories that were made for it. Does nothing where others have files.
 */
function removeEmpty(path: string, madeFrom: string | null): void {
  try {
    rmdirSync(path);
    removeMade(dirname(path), madeFrom === path ? null : madeFrom);
  } catch {
    // Another process is there by now.
  }
}
