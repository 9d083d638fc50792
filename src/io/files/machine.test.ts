import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { cpus } from "node:os";
import { expect, test } from "vitest";
import { processorCounts, withArrayMemory } from "./machine.ts";

const SETTINGS = [
  "glibc.malloc.hugetlb=1",
  "glibc.malloc.mmap_threshold=33554432",
  "glibc.malloc.trim_threshold=268435456",
  "glibc.malloc.tcache_count=0",
  "glibc.malloc.mxfast=0",
];

test("memory for arrays is asked for beside what the environment already says", () => {
  expect(withArrayMemory({ HOME: "/h" })).toEqual({ HOME: "/h", GLIBC_TUNABLES: SETTINGS.join(":") });
  const others = withArrayMemory({ GLIBC_TUNABLES: "glibc.malloc.check=1" });
  expect(others.GLIBC_TUNABLES).toBe(["glibc.malloc.check=1", ...SETTINGS].join(":"));
});

test("what the environment says itself is left alone", () => {
  const own = "glibc.malloc.hugetlb=0:glibc.malloc.mxfast=128";
  const { GLIBC_TUNABLES } = withArrayMemory({ GLIBC_TUNABLES: own });
  expect(GLIBC_TUNABLES).toBe([own, ...SETTINGS.slice(1, 4)].join(":"));
});

test("a process starts in that environment", () => {
  const env = withArrayMemory(process.env);
  expect(execFileSync(process.execPath, ["-p", "1 + 1"], { env, encoding: "utf8" })).toBe("2\n");
});

test.runIf(process.platform === "linux")("a process may use the processors of its affinity", () => {
  const first = /^Cpus_allowed_list:\s*(\d+)/m.exec(readFileSync("/proc/self/status", "utf8"))![1]!;
  const { href } = new URL("machine.ts", import.meta.url);
  const code = `import(${JSON.stringify(href)}).then((machine) => console.log(JSON.stringify(machine.processorCounts())))`;
  const node = [process.execPath, "--import", "tsx", "-e", code];
  const counts = execFileSync("taskset", ["-c", first, ...node], { encoding: "utf8" });
  expect(JSON.parse(counts)).toEqual({ all: cpus().length, usable: 1 });
  expect(processorCounts().usable).toBeGreaterThanOrEqual(1);
});
