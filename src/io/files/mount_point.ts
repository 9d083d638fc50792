/** Detection of mount points, bind mounts included: directories that a rename cannot replace. */
import { readFile, stat } from "node:fs/promises";
import { dirname } from "node:path";

/** Index of the mount point among the fields of a line in mountinfo; proc(5). */
const MOUNT_POINT_FIELD = 4;

/**
 * Whether something is mounted at a directory. A bind mount of the same disk has the device number of its parent
 * directory, and is found only in Linux's list of mounts.
 * @param path - of a directory that exists, links followed
 */
export async function isMountPoint(path: string): Promise<boolean> {
  const [self, parent] = await Promise.all([stat(path), stat(dirname(path))]);
  if (self.dev !== parent.dev) return true;
  const mounts = await readFile("/proc/self/mountinfo", "utf8").catch(() => "");
  return mounts.split("\n").some((line) => unescapeOctal(line.split(" ")[MOUNT_POINT_FIELD] ?? "") === path);
}

/** Decodes the octal escapes of mountinfo, such as `\040` for a space. */
function unescapeOctal(field: string): string {
  return field.replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}
