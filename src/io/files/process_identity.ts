/**
 * Which process somebody is, so that others can tell later whether it is gone. A process number means something in one
 * namespace of process numbers alone, from one start of the machine to the next, and may be another process's by then.
 */
import { createHash } from "node:crypto";
import { readlinkSync } from "node:fs";
import { hostname } from "node:os";
import { systemText } from "./machine.ts";
import { errnoOf } from "./output_file.ts";

/** A process, as it can be known from outside. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly host: string;
  /**
   * The namespace of process numbers; two containers of one machine may share its name. Absent in what older versions
   * wrote, and where there are none.
   */
  readonly namespace?: string | undefined;
  /** What tells this start of the machine from another. */
  readonly boot: string;
  /** What tells this start of a process from another; empty where that cannot be known. */
  readonly started: string;
}

/**
 * Fields of proc_pid_stat(5), counted from the state: the parent, and ticks from the machine's start to the process's.
 */
const PARENT_FIELD = 1;
const START_FIELD = 19;

const MARK = /^([0-9a-f]{8})-([0-9a-f]{8})-([0-9]+)-([0-9]*)$/;

/** This process. */
export function ownIdentity(): ProcessIdentity {
  const boot = systemText("/proc/sys/kernel/random/boot_id").trim();
  const started = statOf(process.pid)[START_FIELD] ?? "";
  const namespace = ownNamespace();
  return { pid: process.pid, host: hostname(), ...(namespace !== undefined && { namespace }), boot, started };
}

/**
 * Whether a process is of another machine, or another container of this one, so that nothing can be known of it here.
 */
export function isElsewhere({ host, namespace }: ProcessIdentity): boolean {
  const own = ownNamespace();
  return host !== hostname() || (namespace !== undefined && own !== undefined && namespace !== own);
}

/** Whether a process is there; one that is elsewhere counts as alive. */
export function isAlive(identity: ProcessIdentity): boolean {
  const { pid, host, boot, started } = identity;
  // Containers start with their machine, and do not outlive it.
  if (host === hostname() && boot !== ownIdentity().boot) return false;
  if (isElsewhere(identity)) return true;
  try {
    process.kill(pid, 0);
  } catch (cause) {
    if (errnoOf(cause) === "ESRCH") return false;
  }
  const stat = statOf(pid);
  const isGone = stat[0] === "Z" || stat[0] === "X";
  return !isGone && started === (stat[START_FIELD] ?? "");
}

/** This process in letters, digits and `-`, for names of files. */
export function ownMark(): string {
  const { pid, boot, started, ...place } = ownIdentity();
  return [digest(place), digest({ boot }), pid, started].join("-");
}

/** What is known of the process that has a mark. */
export interface MarkedProcess {
  /** Null where that cannot be known. */
  readonly isGone: boolean | null;
  /** Whether the machine that this process runs on has not been started since. */
  readonly isOfThisStart: boolean;
}

/** What a mark says; nothing is known where it is none. */
export function processOfMark(mark: string): MarkedProcess {
  const [, place, boot, pid, started = ""] = MARK.exec(mark) ?? [];
  const { boot: ownBoot, host, namespace } = ownIdentity();
  const isOfThisStart = boot === digest({ boot: ownBoot });
  if (place !== digest({ host, namespace })) return { isGone: null, isOfThisStart };
  return {
    isGone: !isOfThisStart || !isAlive({ pid: Number(pid), host, boot: ownBoot, started }),
    isOfThisStart,
  };
}

/** The parent that a process has now; undefined where that cannot be known. */
export function parentOf(identity: ProcessIdentity): number | undefined {
  const parent = isElsewhere(identity) ? undefined : statOf(identity.pid)[PARENT_FIELD];
  return parent === undefined ? undefined : Number(parent);
}

function digest(value: object): string {
  return createHash("sha256").update(JSON.stringify(value)).digest("hex").slice(0, 8);
}

/** As `pid:[4026531836]`; undefined where there are none, or none can be read. */
function ownNamespace(): string | undefined {
  try {
    return readlinkSync("/proc/self/ns/pid");
  } catch {
    return undefined;
  }
}

/** What Linux says about a process, from its state on; a single empty field elsewhere. */
function statOf(pid: number): readonly string[] {
  const stat = systemText(`/proc/${pid}/stat`);
  // The command before it stands in parentheses and may hold anything.
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}
