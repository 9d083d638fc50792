import { spawnSync } from "node:child_process";
import { chmod, mkdir, readdir, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../../test/directories.ts";
import { requireEmptyDirectory, requireFreeDirectory, requireReplaceableFile } from "./output_place.ts";

/** Whether a child process can mount something in a mount namespace of its own. */
const CAN_MOUNT = spawnSync("unshare", ["-rm", "true"]).status === 0;

/** A user without write permission; undefined when this process has none either. */
const NOBODY = process.getuid?.() === 0 ? 65534 : undefined;

/**
 * The output of a child process that checks whether a directory is free.
 * @param before - shell commands to run first, and the working directory
 */
function checkInChild(target: string, { before = "true", cwd = "/", uid }: Surroundings): string {
  const module = join(import.meta.dirname, "output_place.ts");
  const code = `import(${JSON.stringify(module)})
    .then(({ requireFreeDirectory }) => requireFreeDirectory(${JSON.stringify(target)}))
    .then(() => console.log("free"), ({ code, message, hint }) => console.log([code, message, hint].join(" | ")))`;
  const tsx = import.meta.resolve("tsx");
  const run = `${before} && exec "$0" --import "$1" --input-type=module -e "$2"`;
  const shell = ["sh", "-c", run, process.execPath, tsx, code];
  const [command, ...rest] = before === "true" ? shell : ["unshare", "-rm", ...shell];
  const { stdout, stderr } = spawnSync(command!, rest, {
    cwd,
    encoding: "utf8",
    ...(uid && { uid, gid: uid }),
  });
  return stdout.trim() || stderr;
}

interface Surroundings {
  readonly before?: string;
  readonly cwd?: string;
  readonly uid?: number | undefined;
}

test("the model's own directory is refused, without advice to remove it", async () => {
  const root = await temporaryDirectory();
  await mkdir(join(root, "model"));
  await writeFile(join(root, "model", "config.json"), "{}");
  await symlink("model", join(root, "link"));
  await expect(requireFreeDirectory(join(root, "link"), join(root, "model"))).rejects.toMatchObject({
    code: "OUTPUT_EXISTS",
    message: `${join(root, "link")}: expected another directory than the model's own, got the same`,
    hint: "Choose another output directory.",
  });
  for (const source of [join(root, "missing"), "hf://org/name"])
    await requireFreeDirectory(join(root, "new"), source);
});

describe("requireFreeDirectory", () => {
  const irreplaceable = "expected a directory that the output can replace, got";

  test.skipIf(!CAN_MOUNT)("a mount point, which no rename replaces, is refused", async () => {
    const root = await temporaryDirectory();
    const target = join(root, "a volume");
    await mkdir(target);
    await mkdir(join(root, "other"));
    const mounts = [`mount -t tmpfs none "${target}"`, `mount --bind "${join(root, "other")}" "${target}"`];
    for (const before of mounts) {
      expect(checkInChild(target, { before })).toBe(
        `OUTPUT_EXISTS | ${target}: ${irreplaceable} a mount point (a volume or disk of its own) | ` +
          `Choose a directory inside it: -o ${join(target, "model")}`,
      );
      expect(checkInChild(join(target, "model"), { before })).toBe("free");
    }
    expect(checkInChild(target, {})).toBe("free");
  });

  test("so is the current directory, and what it lies in", async () => {
    const root = await temporaryDirectory();
    const cwd = join(root, "here");
    await mkdir(cwd);
    await symlink("here", join(root, "link"));
    for (const target of [".", cwd, "../link"]) {
      expect(checkInChild(target, { cwd })).toBe(
        `OUTPUT_EXISTS | ${target}: ${irreplaceable} the current directory | ` +
          `Choose a directory inside it: -o ${join(target, "model")}`,
      );
    }
    expect(checkInChild("..", { cwd })).toContain(
      "..: expected a directory that the output can replace, got a",
    );
    await mkdir(join(root, "..here"));
    expect(checkInChild("../..here", { cwd })).toBe("free");
    expect(checkInChild("inside", { cwd })).toBe("free");
  });

  test("where nothing can be made, the directory that refuses is named", async () => {
    const root = await temporaryDirectory();
    const parent = join(root, "par");
    const target = join(parent, "out");
    await mkdir(target, { recursive: true });
    await chmod(root, 0o755);
    await chmod(target, 0o777);
    await chmod(parent, 0o555);
    const refused = `OUTPUT_FAILED | ${parent}: expected a writable directory for a temporary directory beside ${target}, got EACCES | You have no permission to write there; choose another place or change the permissions.`;
    expect(checkInChild(target, { uid: NOBODY })).toBe(
      `${refused} Choose a directory inside it: -o ${join(target, "model")}`,
    );
    expect(checkInChild(`${target}2`, { uid: NOBODY })).toBe(refused.replace("par/out,", "par/out2,"));
    await chmod(parent, 0o755);
  });
});

describe("other places that are looked at before hours of work", () => {
  test("a directory for several outputs may be new or empty, and is left alone", async () => {
    const root = await temporaryDirectory();
    await requireEmptyDirectory(join(root, "a", "b"));
    await requireEmptyDirectory(root);
    expect(await readdir(root)).toEqual([]);
    await writeFile(join(root, "file"), "");
    const refusal = { code: "OUTPUT_EXISTS", hint: expect.any(String) };
    await expect(requireEmptyDirectory(root)).rejects.toMatchObject(refusal);
    await expect(requireEmptyDirectory(join(root, "file"))).rejects.toMatchObject(refusal);
  });

  test("a file may take the place of another, not of a directory", async () => {
    const root = await temporaryDirectory();
    await writeFile(join(root, "file"), "");
    await requireReplaceableFile(join(root, "file"));
    await requireReplaceableFile(join(root, "a", "b"));
    expect(await readdir(root)).toEqual(["file"]);
    await expect(requireReplaceableFile(root)).rejects.toMatchObject({
      code: "OUTPUT_EXISTS",
      message: `${root}: expected a file name, got a directory`,
    });
    await expect(requireReplaceableFile(join(root, "file", "x"))).rejects.toMatchObject({
      code: "OUTPUT_FAILED",
      message: `${join(root, "file")}: expected a writable directory for the file ${join(root, "file", "x")}, got ENOTDIR`,
    });
  });
});
