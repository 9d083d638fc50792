import { link, readdir } from "node:fs/promises";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { DirectoryStore } from "./directory_store.ts";
import { StoreAway } from "./store.ts";

vi.mock("node:fs/promises", async (original) => ({
  ...(await original<typeof import("node:fs/promises")>()),
  link: vi.fn(),
}));

test.each(["ENOTSUP", "ENOSYS", "EPERM"])(
  "refuses a place whose links fail with %s at once",
  async (code) => {
    const path = join(await temporaryDirectory(), "store");
    vi.mocked(link).mockRejectedValueOnce(Object.assign(new Error(code), { code, errno: -1 }));
    const store = await DirectoryStore.open(path);
    const error: unknown = await store.claim("name", "text").catch((reason: unknown) => reason);
    expect(error).not.toBeInstanceOf(StoreAway);
    expect(error).toMatchObject({
      code: "STORE_FAILED",
      message: `${path}: expected a file system with hard links, got ${code}`,
      hint: expect.stringContaining("s3://BUCKET/PREFIX"),
    });
    expect(await readdir(join(path, "tmp"))).toEqual([]);
  },
);
