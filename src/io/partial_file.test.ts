import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
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
      message: expect.stringMatching(/blob\.\w+\.incomplete: expected to write it, got ENOSPC$/),
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
