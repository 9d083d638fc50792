import { createHash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { etagOf, MockHub } from "../../../test/mock_hub.ts";
import { parseHubAddress } from "./address.ts";
import { hubFile } from "./hub.ts";

let hub: MockHub;
let home: string;

beforeAll(async () => {
  hub = await MockHub.start();
});
beforeEach(async () => {
  home = await temporaryDirectory();
  hub.reset();
  hub.add({ name: "models/org/name", files: new Map([["config.json", { bytes: Buffer.from("{}") }]]) });
});
afterAll(async () => {
  await hub.close();
});

describe("a file that is not in LFS", () => {
  const fetchFile = (): Promise<string> =>
    hubFile({ ...parseHubAddress("hf://org/name")!, file: "config.json" }, hub.options(home));
  const blobs = (): Promise<string[]> => readdir(join(home, "hub", "models--org--name", "blobs"));

  test("is thrown away unless its Git hash is as announced", async () => {
    hub.faults.etag = etagOf({ bytes: Buffer.from("[]") });
    await expect(fetchFile()).rejects.toMatchObject({
      code: "BAD_FILE",
      // What `git hash-object` prints for the two bytes.
      message: `config.json: expected Git hash ${hub.faults.etag}, got 9e26dfeeb6e641a33dae4961196235bdb965b21b`,
      hint: "The download was damaged in transfer; try again.",
    });
    expect(await blobs()).toEqual([]);
  });

  test("may have the hash of its bytes alone as ETag, or no hash that is known", async () => {
    for (const etag of [createHash("sha1").update("{}").digest("hex"), "d41d8cd98f00b204e9800998ecf8427e"]) {
      hub.faults.etag = etag;
      expect(await readFile(await fetchFile(), "utf8")).toBe("{}");
      expect(await blobs()).toContain(etag);
    }
  });
});
