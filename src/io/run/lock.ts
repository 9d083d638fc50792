/**
 * One run at a time on one directory. The lock is a file that names its holder; it saves work and explains itself, but
 * no byte depends on it: every process writes under names of its own and publishes by renaming. A lock whose holder is
 * gone from this machine is taken over. Of a holder in another container it is not known whether it is gone, so every
 * holder touches its lock, and one that was not touched for long is taken over as well. A holder that has lost its
 * parent is waited for: a computing process whose command line was killed ends by itself at its next step.
 */

import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { copyFile, link, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { z } from "zod";
import { GpruneError } from "../../errors.ts";
import { kindOfPath } from "../files/file.ts";
import { errnoOf, outputFailed } from "../files/output_file.ts";
import { isAlive, isElsewhere, ownIdentity, parentOf } from "../files/process_identity.ts";

/** Who holds a lock. */
const holderSchema = z.strictObject({
  pid: z.int().positive(),
  host: z.string(),
  /** Absent in locks of older versions. */
  namespace: z.string().optional(),
  /**
   * What tells starts of the machine and of the process apart: a process number alone may be another process's by now.
   */
  boot: z.string(),
  started: z.string(),
  /** The process that started it; absent in locks of older versions. */
  parent: z.int().optional(),
  /** ISO 8601, for people. */
  since: z.string(),
  /** Tells two holders apart. */
  token: z.string(),
});
type Holder = z.infer<typeof holderSchema>;

/** What file systems without hard links answer, FAT for instance. */
const NO_LINKS: ReadonlySet<string> = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"]);

/** Attempts when others come and go at the same time. */
const MAX_ATTEMPTS = 20;

/** Seconds that an orphan has to end, and between two looks at it. */
const ORPHAN_SECONDS = 60;
const LOOK_SECONDS = 0.2;

/** Seconds from one touch of a lock to the next; a run of a graph may hold up a few of them. */
const TOUCH_SECONDS = 20;

/** Seconds after which a lock of another container that nobody has touched is left. */
const LEFT_SECONDS = 600;

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
   * @param path - of the lock file, in a directory that exists
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
        // A process that tidies up may have removed it.
        await writeFile(temporary, JSON.stringify(own));
        if (await linked(temporary, path)) return await RunLock.#taken(path, own);
        await whenGone(path);
        if (await takenOver(temporary, path)) return await RunLock.#taken(path, own);
      }
    } catch (cause) {
      throw outputFailed(path, cause);
    } finally {
      await rm(temporary, { force: true }).catch(() => {});
    }
    throw new GpruneError("LOCKED", `${path}: expected to get the lock, got others in between each time`, {
      hint: "Start one run at a time.",
    });
  }

  /** Removes what processes that are gone have left beside the lock. */
  static async #taken(path: string, own: Holder): Promise<RunLock> {
    const beside = (await readdir(dirname(path))).filter((name) => name.startsWith(`${basename(path)}.`));
    for (const name of beside) {
      const other = join(dirname(path), name);
      const holder = await readHolder(other);
      if (holder === null || !(await isHeld(other, holder))) await rm(other, { force: true });
    }
    return new RunLock(path, own);
  }

  /** Gives it back, unless it was taken over. */
  async release(): Promise<void> {
    clearInterval(this.#touches);
    if ((await readHolder(this.#path))?.token === this.#own.token) await rm(this.#path, { force: true });
  }
}

/** Who holds a lock now: the process, and since when, ISO 8601. Null when none does. */
export async function holderOf(
  path: string,
): Promise<{ readonly pid: number; readonly since: string } | null> {
  const holder = await readHolder(path);
  if (holder === null || !(await isHeld(path, holder))) return null;
  return { pid: holder.pid, since: holder.since };
}

/** A hard link is made by one process only. @returns whether it was this one */
async function linked(temporary: string, path: string): Promise<boolean> {
  try {
    await link(temporary, path);
    return true;
  } catch (cause) {
    const errno = errnoOf(cause) ?? "";
    if (errno === "EEXIST" || errno === "ENOENT") return false;
    if (!NO_LINKS.has(errno)) throw cause;
    return copied(temporary, path);
  }
}

/** The same where there are no hard links; others may see a lock that does not name its holder yet. */
async function copied(temporary: string, path: string): Promise<boolean> {
  try {
    await copyFile(temporary, path, constants.COPYFILE_EXCL);
    return true;
  } catch (cause) {
    if (errnoOf(cause) === "EEXIST") return false;
    throw cause;
  }
}

/**
 * Takes the place of a lock whose holder is gone. A second lock lets one process at a time do so; should that be stale
 * too, it is removed.
 * @returns false when the first lock is no longer stale, or the second was
 * @throws GpruneError LOCKED when another process is taking over
 */
async function takenOver(temporary: string, path: string): Promise<boolean> {
  const guard = `${path}.takeover`;
  if (!(await linked(temporary, guard))) {
    await whenGone(path, guard);
    await rm(guard, { force: true });
    return false;
  }
  try {
    if ((await kindOfPath(path)) === "missing") return false;
    await whenGone(path);
    await rename(temporary, path);
    return true;
  } finally {
    await rm(guard, { force: true });
  }
}

/**
 * Waits for an orphan to end.
 * @param file - that names the holder, the lock or what is beside it
 * @throws GpruneError LOCKED unless the holder is gone, or there is none
 */
async function whenGone(path: string, file: string = path): Promise<void> {
  const start = performance.now();
  const holder = await readHolder(file);
  while (holder !== null && (await isHeld(file, holder))) {
    if (!isOrphan(holder) || performance.now() - start > 1000 * ORPHAN_SECONDS) throw locked(path, holder);
    await setTimeout(1000 * LOOK_SECONDS);
  }
}

/** Whether a holder is there, as far as that can be known; one on another machine counts as there. */
async function isHeld(file: string, holder: Holder): Promise<boolean> {
  if (!isAlive(holder)) return false;
  if (!isInContainer(holder)) return true;
  const touched = await stat(file).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  );
  return Date.now() - touched < 1000 * LEFT_SECONDS;
}

/** Whether a holder is in another container of this machine. */
function isInContainer(holder: Holder): boolean {
  return isElsewhere(holder) && holder.host === hostname();
}

/** Null when there is no lock, or one that says nothing. */
async function readHolder(path: string): Promise<Holder | null> {
  const text = await readFile(path, "utf8").catch(() => "");
  try {
    return holderSchema.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/** Whether a living process of this machine has another parent than it had; known of Linux alone. */
function isOrphan(holder: Holder): boolean {
  const now = parentOf(holder);
  return holder.parent !== undefined && now !== undefined && now !== holder.parent;
}

function locked(path: string, holder: Holder): GpruneError {
  const { pid, host, since } = holder;
  const container = isInContainer(holder) ? ", in another container," : "";
  const message = `${path}: expected no other run there, got process ${pid} on ${host}${container} since ${since}`;
  return new GpruneError("LOCKED", message, { hint: whatToDo(path, holder) });
}

function whatToDo(path: string, holder: Holder): string {
  if (isInContainer(holder)) {
    return `Wait for it; if it is gone, its lock counts no more in ${LEFT_SECONDS / 60} minutes, or remove ${path}.`;
  }
  if (isElsewhere(holder)) return `Wait for it, or remove ${path} when it is gone.`;
  if (holder.pid !== process.pid) return "Wait for it, stop it, or choose another output.";
  return `Wait for it; remove ${path} when it was a thread of this process that is gone.`;
}
