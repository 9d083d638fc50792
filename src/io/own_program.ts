/** How a program of ours that runs in a process of its own is started, compiled or from the sources. */
import { fileURLToPath } from "node:url";

/** What Node is called with. */
export interface OwnProgram {
  readonly path: string;
  /** Options of Node that let it run the program. */
  readonly nodeOptions: readonly string[];
}

/**
 * @param name - without its extension
 * @param besides - `import.meta.url` of a module in the same folder
 */
export function ownProgram(name: string, besides: string): OwnProgram {
  const isSource = besides.endsWith(".ts");
  return {
    path: fileURLToPath(new URL(`./${name}${isSource ? ".ts" : ".js"}`, besides)),
    nodeOptions: isSource ? ["--import", "tsx"] : [],
  };
}
