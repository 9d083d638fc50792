/**
 * Files of a directory from elsewhere. A link in it may point anywhere, and what it points to would be read, carried to
 * the output and perhaps uploaded, so it must stay inside. The cache of huggingface_hub is the exception: its snapshots
 * are links to its blobs.
 *
 * Links made while gprune runs, and hard links, are not looked for.
 */
import { realpath } from "node:fs/promises";
import { join, sep } from "node:path";
import { GpruneError } from "../../errors.ts";

/** `models--ORG--NAME/blobs/HASH` */
const HUB_BLOB = /[\\/](?:models|datasets|spaces)--[^\\/]+[\\/]blobs[\\/][^\\/]+$/;

/**
 * The path of a file of a directory; whether there is such a file is for others to say.
 * @param name - a plain file name
 * @throws GpruneError BAD_FILE for a link that leads out of the directory
 */
export async function fileInside(directory: string, name: string): Promise<string> {
  const path = join(directory, name);
  const [real, root] = await Promise.all([realpath(path), realpath(directory)]).catch(() => [path, path]);
  if (real === path || real.startsWith(root.endsWith(sep) ? root : root + sep) || HUB_BLOB.test(real)) {
    return path;
  }
  throw new GpruneError("BAD_FILE", `${path}: expected a file of the directory, got a link to ${real}`, {
    hint: "Links out of a model's directory are not followed; put the file itself there.",
  });
}
