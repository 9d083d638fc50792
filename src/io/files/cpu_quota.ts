/**
 * CPU quotas of Linux control groups, as containers set them (`docker run --cpus 2`). Neither ONNX Runtime nor Node 20
 * looks at them: on a machine with many cores, threads for all of them would use up a small quota early in each period
 * and then stand still until the next.
 */

/** Reads a file of /proc or /sys; "" when it is missing. */
type Read = (path: string) => string;

/** Quota of the group of version 2 in a directory, processors; infinite without one. */
function quotaOfVersion2(directory: string, read: Read): number {
  const [quota, period] = read(`${directory}/cpu.max`).split(" ");
  return quotient(quota, period);
}

/** As `quotaOfVersion2`, for version 1. */
function quotaOfVersion1(directory: string, read: Read): number {
  return quotient(read(`${directory}/cpu.cfs_quota_us`), read(`${directory}/cpu.cfs_period_us`));
}

/** Infinite unless both are positive: no quota is `max` in version 2, -1 in version 1. */
function quotient(quota = "", period = ""): number {
  const [share, whole] = [Number(quota), Number(period)];
  return share > 0 && whole > 0 ? share / whole : Number.POSITIVE_INFINITY;
}

/** A group's directory and those above it, up to the root: quotas of all of them hold. */
function upwards(root: string, path: string): readonly string[] {
  const names = path.split("/").filter((name) => name !== "");
  return Array.from({ length: names.length + 1 }, (_, depth) => [root, ...names.slice(0, depth)].join("/"));
}

/**
 * Processors that this process may use by the quotas of its control group and of those above it, not necessarily a
 * whole number; infinite without a quota. Inside a container, the groups above its own cannot be seen, and the path of
 * its own may be the host's; its quota then stands in the root.
 */
export function cpuQuota(read: Read): number {
  const quotas = read("/proc/self/cgroup")
    .split("\n")
    .flatMap((line) => {
      const [, controllers = "", path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
      if (path === undefined) return [];
      if (controllers === "") return upwards("/sys/fs/cgroup", path).map((dir) => quotaOfVersion2(dir, read));
      if (!controllers.split(",").includes("cpu")) return [];
      return upwards("/sys/fs/cgroup/cpu", path).map((dir) => quotaOfVersion1(dir, read));
    });
  return Math.min(...quotas);
}
