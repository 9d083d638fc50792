import { expect, test } from "vitest";
import { cpuQuota } from "./cpu_quota.ts";

const quotaIn = (files: Readonly<Record<string, string>>): number => cpuQuota((path) => files[path] ?? "");

test("a container's quota stands in the root that it sees", () => {
  const group = { "/proc/self/cgroup": "0::/\n" };
  expect(quotaIn({ ...group, "/sys/fs/cgroup/cpu.max": "200000 100000\n" })).toBe(2);
  expect(quotaIn({ ...group, "/sys/fs/cgroup/cpu.max": "max 100000\n" })).toBe(Infinity);
});

test("the smallest quota of a group and those above it holds", () => {
  const files = {
    "/proc/self/cgroup": "0::/user.slice/job:1.scope\n",
    "/sys/fs/cgroup/user.slice/cpu.max": "150000 100000\n",
    "/sys/fs/cgroup/user.slice/job:1.scope/cpu.max": "400000 100000\n",
  };
  expect(quotaIn(files)).toBe(1.5);
});

test("version 1 has a hierarchy for each controller, whose path may be that of the host", () => {
  const files = {
    "/proc/self/cgroup": "5:memory:/docker/ab\n4:cpuset:/\n2:cpu,cpuacct:/docker/ab\n0::/\n",
    "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
  };
  expect(quotaIn(files)).toBe(0.5);
  expect(quotaIn({ ...files, "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n" })).toBe(Infinity);
});

test("without control groups there is no quota", () => {
  expect(quotaIn({})).toBe(Infinity);
  expect(quotaIn({ "/proc/self/cgroup": "nonsense\n0::/\n", "/sys/fs/cgroup/cpu.max": "" })).toBe(Infinity);
});
