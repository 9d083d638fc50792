/**
 * Files of an untrusted directory. A link in it could point to any file, which would be read, copied to the output and
 * perhaps uploaded, so links must stay inside the directory. The cache of huggingface_hub is the exception: its
 * snapshots are links to its blobs.
 *
 * Hard links, and links made while gprune runs, are not detected.
 */
import { realpath } from "node:fs/promises";
import { join, sep } from "node:path";
import { GpruneError } from "../../errors.ts";

/** `models--ORG--NAME/blobs/HASH` */
const HUB_BLOB = /[\\/](?:models|datasets|spaces)--[^\\/]+[\\/]blobs[\\/][^\\/]+$/;

/**
 * The path of a file in a directory. The file need not exist.
 * @param name - a plain file name
 * @throws GpruneError BAD_FILE for a link that leads out of the directory
 */
export async function fileInside(directory: string, name: string): Promise<string> {
  const path = join(directory, name);
  const [real, root] = await Promise.all([realpath(path), realpath(directory)]).catch(() => [path, path]);
  if (real === path || real.startsWith(root.endsWith(sep) ? root : root + sep) || HUB_BLOB.test(real)) {
    return path;
  }
  throw new GpruneError("BAD_FILE", `${path}: expected a file inside the directory, got a link to ${real}`, {
    hint: "Links that leave a model's directory are not followed; put the file itself there.",
  });
}
