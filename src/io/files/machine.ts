/** Properties of this machine: instruction sets, on which results may depend, memory and disk space. */
import { readFileSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { availableParallelism, cpus, freemem, totalmem } from "node:os";
import { resolve } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { cpuQuota } from "./cpu_quota.ts";
import { nearestExisting } from "./nearest_existing.ts";

/** Instruction sets by which kernels are chosen. Processors of the same name may differ in them. */
const FEATURES =
  /^(sse4_[12]|avx\w*|f16c|fma|amx_\w+|neon|asimd\w*|sve\w*|sme\w*|i8mm|bf16|fphp|lsx|lasx|vsx|v)$/;

/** The properties of the processor on which results can depend: its instruction sets, or its name where unknown. */
export function processor(): { readonly arch: string; readonly features: readonly string[] } {
  const flags = /^(?:flags|Features)\s*:(.*)$/m.exec(systemText("/proc/cpuinfo"))?.[1]?.split(/\s+/) ?? [];
  const features = flags.filter((flag) => FEATURES.test(flag)).sort();
  return { arch: process.arch, features: features.length > 0 ? features : [cpus()[0]?.model ?? "unknown"] };
}

/**
 * Options of Node for a computing process. By default V8 starts a concurrent marking of its heap for every 64 MiB of
 * arrays, on the cores that compute; without incremental marking it marks a quarter as often, and its pauses take no
 * longer in total. Saves a tenth of a run's processor time (docs/PERFORMANCE.md).
 */
const COMPUTING_OPTIONS: readonly string[] = ["--no-incremental-marking"];

/**
 * Has V8 compile baseline code on the main thread, for a process that may call `process.exit`. Where another thread
 * compiles, as by default in Node 24 and later, that thread may be waiting for a garbage collection of the main thread,
 * which waits for its end: the process never ends (nodejs/node#54918).
 */
export function compileOnMainThread(): void {
  setFlagsFromString("--no-concurrent-sparkplug");
}

/** The machine's logical processors, and how many of them this process may use at once. */
export interface ProcessorCounts {
  readonly all: number;
  /** By its affinity, and at most its CPU quota, rounded up. */
  readonly usable: number;
}

let counted: ProcessorCounts | null = null;

/** Counted at the first call: it reads files. */
export function processorCounts(): ProcessorCounts {
  counted ??= {
    all: cpus().length,
    usable: Math.min(availableParallelism(), Math.ceil(cpuQuota(systemText))),
  };
  return counted;
}

/** Memory limit of this process, bytes: that of its control group, or the machine's memory. */
export function memoryLimit(): number {
  // Node reports a huge number, or 0, where nothing limits the process.
  const limit = process.constrainedMemory();
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem();
}

/**
 * Whether at least half of the machine's memory is free, and this process uses at most half of its memory limit.
 */
export function isHalfFree(): boolean {
  return freemem() >= totalmem() / 2 && process.memoryUsage.rss() <= memoryLimit() / 2;
}

/**
 * Peak resident memory of this process, bytes.
 *
 * Linux: VmHWM of /proc/self/status, because `maxRSS` of getrusage(2) also includes the peak of the process that
 * started this one.
 */
export function peakResidentBytes(): number {
  const peakKilobytes = /^VmHWM:\s*(\d+) kB$/m.exec(systemText("/proc/self/status"))?.[1];
  return 1024 * (peakKilobytes === undefined ? process.resourceUsage().maxRSS : Number(peakKilobytes));
}

/**
 * Tunables of glibc's malloc for arrays that are allocated and freed with every matrix product: transparent huge pages;
 * arrays of up to 32 MiB from the heap, which keeps 256 MiB of free memory; no caches of small blocks, because their
 * blocks are not coalesced with free neighbours, and the gap of a freed aligned array would be a few bytes too small
 * for the next one of its size.
 */
const MALLOC_TUNABLES: Readonly<Record<string, number>> = {
  "glibc.malloc.hugetlb": 1,
  "glibc.malloc.mmap_threshold": 2 ** 25,
  "glibc.malloc.trim_threshold": 2 ** 28,
  "glibc.malloc.tcache_count": 0,
  "glibc.malloc.mxfast": 0,
};

/**
 * Adds `MALLOC_TUNABLES` to the environment of a child process, except those that it sets already. Fresh pages of
 * 4 kB take a fifth of a run's processor time (docs/PERFORMANCE.md). All tunables need glibc 2.35 or later.
 */
export function withArrayMemory(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { GLIBC_TUNABLES: present = "" } = environment;
  const missing = Object.entries(MALLOC_TUNABLES).filter(([name]) => !present.includes(`${name}=`));
  const settings = missing.map(([name, value]) => `${name}=${value}`);
  return { ...environment, GLIBC_TUNABLES: [present, ...settings].filter(Boolean).join(":") };
}

/** Environment and options of Node for a computing child process. @param options - further options of Node */
export function computingProcess(options: readonly string[]): {
  readonly env: NodeJS.ProcessEnv;
  readonly execArgv: string[];
} {
  return { env: withArrayMemory(process.env), execArgv: [...options, ...COMPUTING_OPTIONS] };
}

/** Free bytes on the file system of `path`, which need not exist yet; infinite when unknown. */
export async function freeDiskBytes(path: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(nearestExisting(resolve(path)));
    return bavail * bsize;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

/** V8's garbage collector, once it was exposed. */
let collect: (() => void) | null = null;

/** Runs a full garbage collection now; V8 would wait until more memory is unreachable. */
export function collectGarbage(): void {
  if (collect === null) {
    setFlagsFromString("--expose-gc");
    collect = runInNewContext("gc") as () => void;
  }
  collect();
}

/** The text of a file of /proc or /sys; empty when it cannot be read. */
export function systemText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
