/** What of this machine a result may depend on or needs: instruction sets, memory, room on the disk. */
import { existsSync, readFileSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { cpus, freemem, totalmem } from "node:os";
import { dirname, resolve } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** Extensions that kernels choose by; one model of processor may have more of them than another of the same name. */
const FEATURES =
  /^(sse4_[12]|avx\w*|f16c|fma|amx_\w+|neon|asimd\w*|sve\w*|sme\w*|i8mm|bf16|fphp|lsx|lasx|vsx|v)$/;

/** The processor as far as results can depend on it. */
export function processor(): { readonly arch: string; readonly features: readonly string[] } {
  const flags = /^(?:flags|Features)\s*:(.*)$/m.exec(systemText("/proc/cpuinfo"))?.[1]?.split(/\s+/) ?? [];
  const features = flags.filter((flag) => FEATURES.test(flag)).sort();
  return { arch: process.arch, features: features.length > 0 ? features : [cpus()[0]?.model ?? "unknown"] };
}

/**
 * Options of Node for a process that computes. V8 marks its heap for every 64 MiB of arrays, beside the computation and
 * on the same cores; all at once it does so a quarter as often, with pauses that are no longer in all. A tenth of a
 * run's processor time (docs/PERFORMANCE.md).
 */
const COMPUTING_OPTIONS: readonly string[] = ["--no-incremental-marking"];

/** Bytes of memory that this process can ever have: the machine's, or what its control group allows. */
export function memoryLimit(): number {
  // Node reports a huge number, or 0, where nothing limits the process.
  const allowed = process.constrainedMemory();
  return allowed > 0 ? Math.min(allowed, totalmem()) : totalmem();
}

/**
 * Whether at least half of the machine's memory is free, and of what this process may have at least half is not its own
 * yet.
 */
export function isHalfFree(): boolean {
  return freemem() >= totalmem() / 2 && process.memoryUsage.rss() <= memoryLimit() / 2;
}

/**
 * Bytes of memory that this process has held at most, everything in it counted.
 *
 * Where the system says it of the process's own memory (Linux), that is taken: getrusage(2) of a process that another
 * one started also knows the peak of that one.
 */
export function peakResidentBytes(): number {
  const own = /^VmHWM:\s*(\d+) kB$/m.exec(systemText("/proc/self/status"))?.[1];
  return 1024 * (own === undefined ? process.resourceUsage().maxRSS : Number(own));
}

/**
 * How glibc is to keep memory for arrays that come and go with every product: in pages of 2 MB where they are that
 * large; arrays of up to 32 MiB in places that it gives out again, 256 MiB of which stay when free; and no block is too
 * small to be joined with a free neighbour, or else the place of an aligned array is too small by a few bytes for the
 * next one like it.
 */
const MALLOC: Readonly<Record<string, number>> = {
  "glibc.malloc.hugetlb": 1,
  "glibc.malloc.mmap_threshold": 2 ** 25,
  "glibc.malloc.trim_threshold": 2 ** 28,
  "glibc.malloc.tcache_count": 0,
  "glibc.malloc.mxfast": 0,
};

/**
 * An environment in which a child process keeps large arrays well, where it does not say how already. Handing out fresh
 * pages of 4 kB takes a fifth of a run's processor time (docs/PERFORMANCE.md). Only glibc 2.35 and later read all of
 * it.
 */
export function withArrayMemory(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { GLIBC_TUNABLES: given = "" } = environment;
  const missing = Object.entries(MALLOC).filter(([name]) => !given.includes(`${name}=`));
  const settings = missing.map(([name, value]) => `${name}=${value}`);
  return { ...environment, GLIBC_TUNABLES: [given, ...settings].filter(Boolean).join(":") };
}

/** How a process of Node that computes is started, with these options besides its own. */
export function computingProcess(options: readonly string[]): {
  readonly env: NodeJS.ProcessEnv;
  readonly execArgv: string[];
} {
  return { env: withArrayMemory(process.env), execArgv: [...options, ...COMPUTING_OPTIONS] };
}

/** Bytes that can be written where `path` is or will be; infinite where that cannot be asked. */
export async function freeDiskBytes(path: string): Promise<number> {
  let place = resolve(path);
  while (!existsSync(place) && dirname(place) !== place) place = dirname(place);
  try {
    const { bavail, bsize } = await statfs(place);
    return bavail * bsize;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

let collect: (() => void) | null = null;

/** Gives memory that nothing refers to back at once; V8 would wait until there is more of it. */
export function collectGarbage(): void {
  if (collect === null) {
    setFlagsFromString("--expose-gc");
    collect = runInNewContext("gc") as () => void;
  }
  collect();
}

/** A small file of /proc or /sys; empty where there is none. */
export function systemText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
