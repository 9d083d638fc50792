/**
 * Identity of a process, by which others can later tell whether it is gone. A pid alone is not enough: it is valid only
 * within its pid namespace and until the next boot, and may be reused.
 */
import { createHash } from "node:crypto";
import { readlinkSync } from "node:fs";
import { hostname } from "node:os";
import { systemText } from "./machine.ts";
import { errnoOf } from "./output_file.ts";

/** The properties that identify a process from outside. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly host: string;
  /**
   * The pid namespace; two containers of one machine may share its name. Absent in files of older versions, and on
   * systems without namespaces.
   */
  readonly namespace?: string | undefined;
  /** Identifier of the machine's boot; empty where unknown. */
  readonly boot: string;
  /** Start time of the process, which distinguishes reuses of a pid; empty where unknown. */
  readonly started: string;
}

/**
 * Indices of fields of proc_pid_stat(5), counted from the state: the parent's pid, and the start time in ticks since
 * boot.
 */
const PARENT_FIELD = 1;
const START_FIELD = 19;

/** `PLACE-BOOT-PID-STARTED`, the first two as digests. */
const MARK = /^([0-9a-f]{8})-([0-9a-f]{8})-([0-9]+)-([0-9]*)$/;

/** This process. */
export function ownIdentity(): ProcessIdentity {
  const boot = systemText("/proc/sys/kernel/random/boot_id").trim();
  const started = statOf(process.pid)[START_FIELD] ?? "";
  const namespace = ownNamespace();
  return { pid: process.pid, host: hostname(), ...(namespace !== undefined && { namespace }), boot, started };
}

/**
 * Whether a process belongs to another machine, or another container of this one, so that its state is unknown here.
 */
export function isElsewhere({ host, namespace }: ProcessIdentity): boolean {
  const here = ownNamespace();
  return host !== hostname() || (namespace !== undefined && here !== undefined && namespace !== here);
}

/** Whether a process is running; one that is elsewhere counts as alive, unless this machine has rebooted. */
export function isAlive(identity: ProcessIdentity): boolean {
  const { pid, host, boot, started } = identity;
  // No process survives a reboot, in a container or not.
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

/** The identity of this process in letters, digits and `-`, for file names. */
export function ownMark(): string {
  const { pid, boot, started, ...place } = ownIdentity();
  return [digest(place), digest({ boot }), pid, started].join("-");
}

/** State of the process that a mark identifies. */
export interface MarkedProcess {
  /** Null when unknown. */
  readonly isGone: boolean | null;
  /** Whether the mark was made since the last boot of this machine. */
  readonly isOfThisStart: boolean;
}

/** State of the process with a mark of {@link ownMark}; unknown when the mark is malformed. */
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

/** Pid of the present parent of a process; undefined where unknown. */
export function parentOf(identity: ProcessIdentity): number | undefined {
  const parent = isElsewhere(identity) ? undefined : statOf(identity.pid)[PARENT_FIELD];
  return parent === undefined ? undefined : Number(parent);
}

function digest(value: object): string {
  return createHash("sha256").update(JSON.stringify(value)).digest("hex").slice(0, 8);
}

/** The pid namespace as `pid:[4026531836]`; undefined where it cannot be read. */
function ownNamespace(): string | undefined {
  try {
    return readlinkSync("/proc/self/ns/pid");
  } catch {
    return undefined;
  }
}

/** Fields of `/proc/PID/stat` from the state on; a single empty field where there is no such file. */
function statOf(pid: number): readonly string[] {
  const stat = systemText(`/proc/${pid}/stat`);
  // The command name before the state is in parentheses and may contain anything.
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}
