/**
 * One run at a time on one directory. The lock is a file that names its holder; it saves work and explains itself, but no
 * byte depends on it: whoever writes does so under names of its own and publishes by renaming. A lock whose holder is
 * gone from this machine is taken over.
 */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { link, readFile, rename, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { z } from "zod";
import { GpruneError } from "../errors.ts";
import { errnoOf, outputFailed, writeNewFile } from "./output_file.ts";

/** Who holds a lock. */
const holderSchema = z.strictObject({
  pid: z.int().positive(),
  host: z.string(),
  /** Of the machine's start, and of the process's: a process number alone may be somebody else's by now. */
  boot: z.string(),
  started: z.string(),
  /** ISO 8601, for people. */
  since: z.string(),
  /** Tells two holders apart. */
  token: z.string(),
});
type Holder = z.infer<typeof holderSchema>;

/** Attempts when others come and go at the same time. */
const MAX_ATTEMPTS = 20;

/** Ticks from the machine's start to the process's: field 22 of proc_pid_stat(5), where the state is field 3. */
const START_FIELD = 19;

/** A lock that is held. */
export class RunLock {
  readonly #path: string;
  readonly #own: Holder;

  private constructor(path: string, own: Holder) {
    this.#path = path;
    this.#own = own;
  }

  /**
   * @param path - of the lock file, in a directory that exists
   * @throws GpruneError LOCKED naming the process that holds it, OUTPUT_FAILED
   */
  static async take(path: string): Promise<RunLock> {
    const own = { ...self(), since: new Date().toISOString(), token: randomBytes(8).toString("hex") };
    const temporary = `${path}.${own.token}`;
    try {
      await writeNewFile(temporary, (file) => file.write(Buffer.from(JSON.stringify(own))));
      for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
        if (await linked(temporary, path)) return new RunLock(path, own);
        const other = await readHolder(path);
        if (other !== null && isAlive(other)) throw locked(path, other);
        await moveAway(path, `${temporary}.stale`, other);
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

  /** Gives it back, unless somebody has taken it over. */
  async release(): Promise<void> {
    if ((await readHolder(this.#path))?.token === this.#own.token) await rm(this.#path, { force: true });
  }
}

/** A hard link is made by one process only. @returns whether it was this one */
async function linked(temporary: string, path: string): Promise<boolean> {
  try {
    await link(temporary, path);
    return true;
  } catch (cause) {
    if (errnoOf(cause) === "EEXIST") return false;
    throw cause;
  }
}

/** Takes a stale lock out of the way; puts it back when it is a fresh one by now. */
async function moveAway(path: string, aside: string, stale: Holder | null): Promise<void> {
  await rename(path, aside).catch((cause: unknown) => {
    if (errnoOf(cause) !== "ENOENT") throw cause;
  });
  const moved = await readHolder(aside);
  if (moved !== null && moved.token !== stale?.token) await linked(aside, path);
  await rm(aside, { force: true });
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

/** Processes of other machines count as alive, for nobody here can know. */
function isAlive({ pid, host, boot, started }: Holder): boolean {
  const own = self();
  if (host !== own.host) return true;
  if (boot !== own.boot) return false;
  try {
    process.kill(pid, 0);
  } catch (cause) {
    if (errnoOf(cause) === "ESRCH") return false;
  }
  const stat = statOf(pid);
  const isGone = stat[0] === "Z" || stat[0] === "X";
  return !isGone && started === (stat[START_FIELD] ?? "");
}

function locked(path: string, { pid, host, since }: Holder): GpruneError {
  const message = `${path}: expected no other run there, got process ${pid} on ${host} since ${since}`;
  const hint =
    host === hostname()
      ? "Wait for it, stop it, or choose another output."
      : `Wait for it, or remove ${path} when it is gone.`;
  return new GpruneError("LOCKED", message, { hint });
}

function self(): Pick<Holder, "pid" | "host" | "boot" | "started"> {
  const { pid } = process;
  const boot = textOf("/proc/sys/kernel/random/boot_id").trim();
  return { pid, host: hostname(), boot, started: statOf(pid)[START_FIELD] ?? "" };
}

/** What Linux says about a process, from its state on; a single empty field elsewhere. */
function statOf(pid: number): readonly string[] {
  const stat = textOf(`/proc/${pid}/stat`);
  // The command before it stands in parentheses and may hold anything.
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
