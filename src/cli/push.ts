/** `gprune push` */
import { pushDirectory } from "../io/hub/push.ts";
import { withProgress } from "./progress.ts";
import { print, printJson } from "./terminal.ts";

interface PushCommandOptions {
  readonly private?: boolean;
  readonly revision?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

export async function pushAction(
  directory: string,
  name: string,
  options: PushCommandOptions,
): Promise<void> {
  const { private: isPrivate, revision, json, quiet } = options;
  const pushed = await withProgress({ quiet }, (onProgress) =>
    pushDirectory(directory, name, { private: isPrivate, revision, onProgress }),
  );
  if (json) printJson(pushed);
  else print(pushed.url);
}
