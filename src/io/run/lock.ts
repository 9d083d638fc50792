/**
 * A lock that allows one run at a time in a directory: a file that names its holder. It prevents duplicate work and
 * gives a clear error, but correctness does not depend on it: every process writes under names of its own and publishes
 * by renaming. A lock whose holder is gone from this machine is taken over. Whether a holder in another container is
 * gone cannot be known, so every holder touches its lock, and one that was not touched for long is taken over as well.
 * A holder that has lost its parent is waited for: a computing process whose command line was killed ends at its next
 * step.
 */

import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { copyFile, link, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { z } from "zod";
import { GpruneError, hasCode } from "../../errors.ts";
import { kindOfPath } from "../files/file.ts";
import { errnoOf, lacksHardLinks, outputFailed } from "../files/output_file.ts";
import { isAlive, isElsewhere, ownIdentity, parentOf } from "../files/process_identity.ts";

/** Content of a lock file. */
const holderSchema = z.strictObject({
  pid: z.int().positive(),
  host: z.string(),
  /** Absent in locks of older versions. */
  namespace: z.string().optional(),
  /** Boot of the machine and start time of the process, because a pid may be reused. */
  boot: z.string(),
  started: z.string(),
  /** Pid of the parent at the start; absent in locks of older versions. */
  parent: z.int().optional(),
  /** ISO 8601, for people. */
  since: z.string(),
  /** Random identifier of this holder. */
  token: z.string(),
});
type Holder = z.infer<typeof holderSchema>;

/** Attempts when other processes take and release the lock concurrently. */
const MAX_ATTEMPTS = 20;

/** Bytes of a lock file, at most. */
const MAX_BYTES = 2 ** 16;

/** Seconds that an orphan has to end, and between two checks of it or of any holder that is waited for. */
const ORPHAN_SECONDS = 60;
const POLL_SECONDS = 0.2;

/** Seconds between touches of a lock; a run of a graph, which blocks the event loop, may delay a few of them. */
const TOUCH_SECONDS = 20;

/** Seconds without a touch after which a lock of another container counts as abandoned. */
const ABANDONED_SECONDS = 600;

/** A lock that is held. */
export class RunLock {
  readonly #path: string;
  readonly #own: Holder;
  readonly #touches: NodeJS.Timeout;

  private constructor(path: string, own: Holder) {
    this.#path = path;
    this.#own = own;
    const touch = (): void => void utimes(path, new Date(), new Date()).catch(() => {});
    this.#touches = setInterval(touch, 1000 * TOUCH_SECONDS).unref();
  }

  /**
   * Takes the lock.
   * @param path - the lock file, in an existing directory
   * @throws GpruneError LOCKED naming the process that holds it, OUTPUT_FAILED
   */
  static async take(path: string): Promise<RunLock> {
    const own = {
      ...ownIdentity(),
      parent: process.ppid,
      since: new Date().toISOString(),
      token: randomBytes(8).toString("hex"),
    };
    const temporary = `${path}.${own.token}`;
    try {
      for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        // Written for each attempt, because a new holder that cleans up may have removed it.
        await writeFile(temporary, JSON.stringify(own));
        if (await tryLink(temporary, path)) return await RunLock.#acquired(path, own);
        await waitUntilGone(path);
        if (await tryTakeOver(temporary, path)) return await RunLock.#acquired(path, own);
      }
    } catch (cause) {
      throw outputFailed(path, cause);
    } finally {
      await rm(temporary, { force: true }).catch(() => {});
    }
    throw new GpruneError(
      "LOCKED",
      `${path}: expected a free lock, got one that other runs took at each attempt`,
      {
        hint: "Start one run at a time.",
      },
    );
  }

  /**
   * Takes the lock as `take` does, after other holders have released it.
   * @param seconds - to wait for them, at most
   */
  static async takeInTurn(path: string, seconds: number): Promise<RunLock> {
    const end = performance.now() + 1000 * seconds;
    for (;;) {
      try {
        return await RunLock.take(path);
      } catch (error) {
        const isHeld = hasCode(error, "LOCKED");
        if (!isHeld || performance.now() >= end) throw error;
      }
      await setTimeout(1000 * POLL_SECONDS);
    }
  }

  /** The acquired lock, after the removal of files that dead processes have left beside it. */
  static async #acquired(path: string, own: Holder): Promise<RunLock> {
    const leftovers = (await readdir(dirname(path))).filter((name) => name.startsWith(`${basename(path)}.`));
    for (const name of leftovers) {
      const other = join(dirname(path), name);
      const holder = await readHolder(other);
      if (holder === null || !(await isHeld(other, holder))) await rm(other, { force: true });
    }
    return new RunLock(path, own);
  }

  /** Releases the lock, unless another process has taken it over. */
  async release(): Promise<void> {
    clearInterval(this.#touches);
    if ((await readHolder(this.#path))?.token === this.#own.token) await rm(this.#path, { force: true });
  }
}

/** The process that holds a lock, and since when (ISO 8601); null when none does. */
export async function holderOf(
  path: string,
): Promise<{ readonly pid: number; readonly since: string } | null> {
  const holder = await readHolder(path);
  if (holder === null || !(await isHeld(path, holder))) return null;
  return { pid: holder.pid, since: holder.since };
}

/** Links the lock file to its name, which succeeds for one process only. @returns whether it did for this one */
async function tryLink(temporary: string, path: string): Promise<boolean> {
  try {
    await link(temporary, path);
    return true;
  } catch (cause) {
    const errno = errnoOf(cause) ?? "";
    if (errno === "EEXIST" || errno === "ENOENT") return false;
    if (!lacksHardLinks(cause)) throw cause;
    return tryCopy(temporary, path);
  }
}

/** `tryLink` for file systems without hard links. Others may briefly see a lock without its content. */
async function tryCopy(temporary: string, path: string): Promise<boolean> {
  try {
    await copyFile(temporary, path, constants.COPYFILE_EXCL);
    return true;
  } catch (cause) {
    if (errnoOf(cause) === "EEXIST") return false;
    throw cause;
  }
}

/**
 * Replaces a lock whose holder is gone. A second lock allows only one process at a time to do so; a stale one is
 * removed.
 * @returns false when the first lock has been released, or the second was stale
 * @throws GpruneError LOCKED when another process is taking over
 */
async function tryTakeOver(temporary: string, path: string): Promise<boolean> {
  const guard = `${path}.takeover`;
  if (!(await tryLink(temporary, guard))) {
    await waitUntilGone(path, guard);
    await rm(guard, { force: true });
    return false;
  }
  try {
    if ((await kindOfPath(path)) === "missing") return false;
    await waitUntilGone(path);
    await rename(temporary, path);
    return true;
  } finally {
    await rm(guard, { force: true });
  }
}

/**
 * Returns when the holder of a lock is gone; waits for it only if it is an orphan.
 * @param file - the file that names the holder: the lock, or the second lock of a takeover
 * @throws GpruneError LOCKED when a holder is alive and no orphan, or an orphan does not end in time
 */
async function waitUntilGone(path: string, file: string = path): Promise<void> {
  const start = performance.now();
  const holder = await readHolder(file);
  while (holder !== null && (await isHeld(file, holder))) {
    if (!isOrphan(holder) || performance.now() - start > 1000 * ORPHAN_SECONDS) throw locked(path, holder);
    await setTimeout(1000 * POLL_SECONDS);
  }
}

/** Whether a holder is alive, as far as that can be known; one on another machine counts as alive. */
async function isHeld(file: string, holder: Holder): Promise<boolean> {
  if (!isAlive(holder)) return false;
  if (!isInContainer(holder)) return true;
  const touched = await stat(file).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  );
  return Date.now() - touched < 1000 * ABANDONED_SECONDS;
}

/** Whether a holder is in another container of this machine. */
function isInContainer(holder: Holder): boolean {
  return isElsewhere(holder) && holder.host === hostname();
}

/** The holder that a lock file names; null when there is no file, or it is malformed or something else. */
async function readHolder(path: string): Promise<Holder | null> {
  try {
    const file = await stat(path);
    // A pipe or a device may never end.
    if (!file.isFile() || file.size > MAX_BYTES) return null;
    const text = await readFile(path, "utf8");
    return holderSchema.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/** Whether a process of this machine has lost its parent; known on Linux only. */
function isOrphan(holder: Holder): boolean {
  const parent = parentOf(holder);
  return holder.parent !== undefined && parent !== undefined && parent !== holder.parent;
}

function locked(path: string, holder: Holder): GpruneError {
  const { pid, host, since } = holder;
  const container = isInContainer(holder) ? ", in another container," : "";
  const message = `${path}: expected no other run, got process ${pid} on ${host}${container} since ${since}`;
  return new GpruneError("LOCKED", message, { hint: lockedHint(path, holder) });
}

function lockedHint(path: string, holder: Holder): string {
  if (isInContainer(holder)) {
    return `Wait for it; if it has ended, its lock expires in ${ABANDONED_SECONDS / 60} minutes, or remove ${path}.`;
  }
  if (isElsewhere(holder)) return `Wait for it; if it has ended, remove ${path}.`;
  if (holder.pid !== process.pid) return "Wait for it, stop it, or choose another output.";
  return `Wait for it; if it was a thread of this process that has ended, remove ${path}.`;
}
