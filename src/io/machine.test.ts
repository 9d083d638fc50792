import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { withLargePages } from "./machine.ts";

test("large pages are asked for beside what the environment already says", () => {
  expect(withLargePages({ HOME: "/h" })).toEqual({ HOME: "/h", GLIBC_TUNABLES: "glibc.malloc.hugetlb=1" });
  const others = withLargePages({ GLIBC_TUNABLES: "glibc.malloc.check=1" });
  expect(others.GLIBC_TUNABLES).toBe("glibc.malloc.check=1:glibc.malloc.hugetlb=1");
  const own = { GLIBC_TUNABLES: "glibc.malloc.hugetlb=0" };
  expect(withLargePages(own)).toBe(own);
});

test("a process starts in that environment", () => {
  const env = withLargePages(process.env);
  expect(execFileSync(process.execPath, ["-p", "1 + 1"], { env, encoding: "utf8" })).toBe("2\n");
});
