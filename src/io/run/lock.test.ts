import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { holderOf, RunLock } from "./lock.ts";

async function lockFile(): Promise<string> {
  return join(await temporaryDirectory(), "lock");
}

/** The lock of a process that has ended, with `changes`. */
async function leaveStaleLock(path: string, changes: Record<string, unknown>): Promise<void> {
  const lock = await RunLock.take(path);
  const holder = JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>;
  await lock.release();
  await writeFile(path, JSON.stringify({ ...holder, token: "other", ...changes }));
}

/** The pid of a process that has ended. */
async function deadProcess(): Promise<number> {
  const child = spawn(process.execPath, ["-e", ""]);
  await once(child, "exit");
  return child.pid!;
}

test("a held lock is refused, naming the process and since when; a released one is free", async () => {
  const path = await lockFile();
  const lock = await RunLock.take(path);
  await expect(RunLock.take(path)).rejects.toMatchObject({
    code: "LOCKED",
    message: expect.stringMatching(
      new RegExp(`lock: expected no other run, got process ${process.pid} on ${hostname()} since \\d{4}-`),
    ),
    hint: expect.any(String),
  });
  await lock.release();
  await (await RunLock.take(path)).release();
  expect(await readdir(join(path, ".."))).toEqual([]);
});

test("of many at once one gets it", async () => {
  const path = await lockFile();
  const taken = await Promise.allSettled(Array.from({ length: 16 }, () => RunLock.take(path)));
  expect(taken.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  expect(await readdir(join(path, ".."))).toEqual(["lock"]);
});

test("in turn, all get it, one after the other; a holder that keeps it is not waited for any longer", async () => {
  const path = await lockFile();
  let holders = 0;
  const hold = async (): Promise<void> => {
    const lock = await RunLock.takeInTurn(path, 60);
    holders += 1;
    expect(holders).toBe(1);
    await new Promise((resolve) => setTimeout(resolve, 10));
    holders -= 1;
    await lock.release();
  };
  await Promise.all(Array.from({ length: 4 }, hold));
  const lock = await RunLock.take(path);
  await expect(RunLock.takeInTurn(path, 0.1)).rejects.toMatchObject({ code: "LOCKED" });
  await lock.release();
});

test.runIf(process.platform === "linux")(
  "a lock file that never ends, or that nobody writes, is taken over",
  async () => {
    const path = await lockFile();
    await symlink("/dev/zero", path);
    await (await RunLock.take(path)).release();
    execFileSync("mkfifo", [path]);
    await (await RunLock.take(path)).release();
    expect(await readdir(join(path, ".."))).toEqual([]);
  },
);

test.runIf(process.platform === "linux")(
  "a holder whose parent was killed is waited for",
  async () => {
    const path = await lockFile();
    const module = JSON.stringify(join(import.meta.dirname, "lock.ts"));
    const holder = join(await temporaryDirectory(), "holder.mts");
    await writeFile(
      holder,
      `import { RunLock } from ${module};
    const parent = process.ppid;
    await RunLock.take(${JSON.stringify(path)});
    // Ends a second after its parent.
    setInterval(() => process.ppid !== parent && setTimeout(() => process.exit(), 1000), 50);`,
    );
    const start = `require("child_process").spawn(process.execPath, ["--import", "tsx", ${JSON.stringify(holder)}])`;
    const parent = spawn(process.execPath, ["-e", `${start}; setInterval(() => {}, 1000)`]);
    await vi.waitFor(() => readFile(path), { timeout: 20_000 });
    await expect(RunLock.take(path)).rejects.toMatchObject({ code: "LOCKED" });
    parent.kill("SIGKILL");
    await once(parent, "exit");
    await (await RunLock.take(path)).release();
  },
  40_000,
);

test("a lock is taken over from a process that is gone, and of many one gets it", async () => {
  const path = await lockFile();
  await leaveStaleLock(path, { pid: await deadProcess() });
  const taken = await Promise.allSettled(Array.from({ length: 8 }, () => RunLock.take(path)));
  expect(taken.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  expect(await readdir(join(path, ".."))).toEqual(["lock"]);
});

test.each([
  ["whose process number is another's by now", { started: "1" }],
  ["of an earlier start of the machine", { boot: "earlier" }],
  ["of a container before that start", { boot: "earlier", namespace: "pid:[1]" }],
])("a lock %s is taken over", async (_, changes) => {
  const path = await lockFile();
  await leaveStaleLock(path, changes);
  await (await RunLock.take(path)).release();
});

test("a lock that says nothing is taken over, one of another machine is not", async () => {
  const path = await lockFile();
  await writeFile(path, "half a lo");
  await (await RunLock.take(path)).release();
  await leaveStaleLock(path, { host: "elsewhere", pid: await deadProcess() });
  await expect(RunLock.take(path)).rejects.toMatchObject({
    code: "LOCKED",
    hint: `Wait for it; if it has ended, remove ${path}.`,
  });
});

test.runIf(process.platform === "linux")(
  "a lock of another container that has this machine's name is not taken over",
  async () => {
    const path = await lockFile();
    await leaveStaleLock(path, { namespace: "pid:[1]", pid: await deadProcess() });
    await expect(RunLock.take(path)).rejects.toMatchObject({
      code: "LOCKED",
      message: expect.stringContaining(`on ${hostname()}, in another container, since`),
      hint: `Wait for it; if it has ended, its lock expires in 10 minutes, or remove ${path}.`,
    });
  },
);

test.runIf(process.platform === "linux")(
  "a lock of another container that nobody has touched for long is taken over",
  async () => {
    const path = await lockFile();
    await leaveStaleLock(path, { namespace: "pid:[1]", pid: await deadProcess() });
    const left = new Date(Date.now() - 11 * 60_000);
    await utimes(path, left, left);
    expect(await holderOf(path)).toBeNull();
    await (await RunLock.take(path)).release();
  },
);

test("whoever holds a lock touches it", async () => {
  const path = await lockFile();
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  try {
    const lock = await RunLock.take(path);
    const old = new Date(0);
    await utimes(path, old, old);
    vi.advanceTimersByTime(60_000);
    await vi.waitFor(async () => expect((await stat(path)).mtimeMs).toBeGreaterThan(0));
    await lock.release();
    expect(vi.getTimerCount()).toBe(0);
  } finally {
    vi.useRealTimers();
  }
});

test("a lock of an older version, which does not say its container, is taken over from a process that is gone", async () => {
  const path = await lockFile();
  await leaveStaleLock(path, { namespace: undefined, pid: await deadProcess() });
  await (await RunLock.take(path)).release();
});

test("releasing a lock that somebody has taken over leaves theirs", async () => {
  const path = await lockFile();
  const lock = await RunLock.take(path);
  await writeFile(path, (await readFile(path, "utf8")).replace(/"token":"[0-9a-f]+"/, '"token":"theirs"'));
  await lock.release();
  expect(await readFile(path, "utf8")).toContain("theirs");
});
