import { mkdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { fileInside } from "./inside.ts";

let root: string;
let model: string;

beforeEach(async () => {
  root = await temporaryDirectory();
  model = join(root, "model");
  await mkdir(join(model, "sub"), { recursive: true });
  await writeFile(join(root, "secret"), "key");
  await writeFile(join(model, "plain"), "");
  await writeFile(join(model, "sub", "inner"), "");
});

describe("fileInside", () => {
  test("gives the path of a file, of a link inside, and of what is not there", async () => {
    await symlink("sub/inner", join(model, "link"));
    await symlink("nowhere", join(model, "dangling"));
    for (const name of ["plain", "link", "missing", "dangling"]) {
      expect(await fileInside(model, name)).toBe(join(model, name));
    }
  });

  test("follows a link that is the directory itself, and one to a blob of the hub's cache", async () => {
    await symlink("model", join(root, "alias"));
    expect(await fileInside(join(root, "alias"), "plain")).toBe(join(root, "alias", "plain"));
    const blobs = join(root, "hub", "models--org--name", "blobs");
    const snapshot = join(root, "hub", "models--org--name", "snapshots", "1");
    await mkdir(blobs, { recursive: true });
    await mkdir(snapshot, { recursive: true });
    await writeFile(join(blobs, "abc123"), "");
    await symlink("../../blobs/abc123", join(snapshot, "config.json"));
    expect(await fileInside(snapshot, "config.json")).toBe(join(snapshot, "config.json"));
  });

  test.each([
    ["a relative link", "../secret"],
    ["a link through a directory", "sub/../../secret"],
    ["a link to a sibling whose name begins alike", "../model-evil"],
  ])("refuses %s out of the directory", async (_, target) => {
    await writeFile(join(root, "model-evil"), "");
    await symlink(target, join(model, "link"));
    await expect(fileInside(model, "link")).rejects.toMatchObject({
      code: "BAD_FILE",
      message: expect.stringContaining("expected a file inside the directory, got a link to"),
    });
  });

  test("refuses absolute links and links to links", async () => {
    await symlink(join(root, "secret"), join(model, "absolute"));
    await symlink("absolute", join(model, "chain"));
    await symlink("/dev/zero", join(model, "device"));
    for (const name of ["absolute", "chain", "device"]) {
      await expect(fileInside(model, name)).rejects.toThrow("got a link to");
    }
  });
});
