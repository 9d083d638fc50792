import { open } from "node:fs/promises";
import { expect, test } from "vitest";
import { buildGguf, number, string, withFile } from "../../../test/gguf_builder.ts";
import { openGguf } from "./gguf.ts";
import { GGUF_LIMITS } from "./gguf_header.ts";

test("refuses a header that is too long, though each of its entries is not", async () => {
  const length = GGUF_LIMITS.stringBytes;
  const count = Math.ceil(GGUF_LIMITS.headerBytes / length);
  await withFile(buildGguf({ entryCount: BigInt(count) }), async (path) => {
    const file = await open(path, "r+");
    for (let i = 0, at = 24; i < count; i++) {
      const start = Buffer.concat([string(`${i}`), number("u32", 8), number("u64", length)]);
      await file.write(start, 0, start.length, at);
      at += start.length + length;
      await file.truncate(at);
    }
    await file.close();
    await expect(openGguf(path)).rejects.toMatchObject({
      code: "BAD_FILE",
      message: expect.stringContaining("expected a header of at most 134217728 bytes, got a longer one"),
    });
  });
});
