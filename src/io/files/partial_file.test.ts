import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, rename, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { armFailPoints, type FailPoint } from "./fail_points.ts";
import { PartialFile } from "./partial_file.ts";

afterEach(() => armFailPoints(null));

test.each<FailPoint>(["before-write", "mid-write"])(
  "a write that fails (%s) is reported, and the next attempt goes on from what was whole",
  async (fails) => {
    const target = join(await temporaryDirectory(), "blob");
    const file = await PartialFile.claim(target);
    await file.append(Buffer.from("hello, "));
    armFailPoints((point) => {
      if (point === fails) throw Object.assign(new Error("full"), { code: "ENOSPC", errno: -28 });
      return 2;
    });
    await expect(file.append(Buffer.from("world"))).rejects.toMatchObject({
      code: "OUTPUT_FAILED",
      message: expect.stringMatching(
        /blob\.gprune-[\w-]+\.incomplete: expected a writable path, got ENOSPC$/,
      ),
      hint: expect.stringContaining("disk is full"),
    });
    expect(file.size).toBe(7);
    armFailPoints(() => 2);
    await file.append(Buffer.from("world"));
    await file.finish();
    expect(await readFile(target, "utf8")).toBe("hello, world");
    expect(await readdir(join(target, ".."))).toEqual(["blob"]);
  },
);

/** Writes a file as a killed process leaves it. @returns its name */
async function killedAttempt(target: string, text: string): Promise<string> {
  const script = join(await temporaryDirectory(), "killed.mts");
  await writeFile(
    script,
    `import { PartialFile } from ${JSON.stringify(join(import.meta.dirname, "partial_file.ts"))};
    const file = await PartialFile.claim(${JSON.stringify(target)});
    await file.append(Buffer.from(${JSON.stringify(text)}));
    process.kill(process.pid, "SIGKILL");`,
  );
  await once(spawn(process.execPath, ["--import", "tsx", script]), "exit");
  const [name] = await readdir(join(target, ".."));
  return name!;
}

/** Starts an attempt, which may resume an earlier one, and ends it. @returns the bytes of the earlier attempt */
async function resumeAndFinish(target: string): Promise<number> {
  const file = await PartialFile.claim(target);
  const { size } = file;
  await file.append(Buffer.from("hello, world").subarray(size));
  await file.finish();
  expect(await readFile(target, "utf8")).toBe("hello, world");
  return size;
}

test("what killed processes have left is gone on with, the longest, and nothing of it stays", async () => {
  const target = join(await temporaryDirectory(), "blob");
  const name = await killedAttempt(target, "hello, ");
  const second = name.replace(/[0-9a-f]+\.incomplete$/, "00000000.incomplete");
  await writeFile(join(target, "..", second), "hello");
  await writeFile(`${target}.gprune.incomplete`, "hell");
  expect(await resumeAndFinish(target)).toBe("hello, ".length);
  expect(await readdir(join(target, ".."))).toEqual(["blob"]);
});

test("what a process is still writing is its own", async () => {
  const target = join(await temporaryDirectory(), "blob");
  const other = await PartialFile.claim(target);
  await other.append(Buffer.from("hello, "));
  expect(await resumeAndFinish(target)).toBe(0);
  await other.append(Buffer.from("world"));
  await other.finish();
  expect(await readdir(join(target, ".."))).toEqual(["blob"]);
});

test("what a process in another container has left is gone on with after an hour of silence", async () => {
  const target = join(await temporaryDirectory(), "blob");
  const name = await killedAttempt(target, "hello, ");
  const foreign = join(target, "..", name.replace(/gprune-[0-9a-f]+/, "gprune-00000000"));
  await rename(join(target, "..", name), foreign);
  expect(await resumeAndFinish(target)).toBe(0);
  const now = Date.now() / 1000;
  await utimes(foreign, now, now - 3700);
  expect(await resumeAndFinish(target)).toBe("hello, ".length);
  expect(await readdir(join(target, ".."))).toEqual(["blob"]);
});

test("what was written before the machine was started anew may have holes, and is removed", async () => {
  const target = join(await temporaryDirectory(), "blob");
  const name = await killedAttempt(target, "hello, ");
  const before = name.replace(/(gprune-[0-9a-f]+)-[0-9a-f]+/, "$1-00000000");
  await rename(join(target, "..", name), join(target, "..", before));
  expect(await resumeAndFinish(target)).toBe(0);
  expect(await readdir(join(target, ".."))).toEqual(["blob"]);
});

test("a file that cannot be emptied or finished is a failed output", async () => {
  const target = join(await temporaryDirectory(), "blob");
  const file = await PartialFile.claim(target);
  await file.discard();
  for (const fail of [() => file.restart(), () => file.finish()]) {
    await expect(fail()).rejects.toMatchObject({ code: "OUTPUT_FAILED" });
  }
});
