/** The library as it is installed: its child processes start in a third of the time that they take from TypeScript. */
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { CLI } from "./compile.ts";

/** What `import "gprune"` gives. */
export function compiledLibrary(): Promise<typeof import("../src/index.ts")> {
  return compiled("index.js");
}

/** What `import "gprune/workers"` gives. */
export function compiledWorkers(): Promise<typeof import("../src/workers/index.ts")> {
  return compiled("workers.js");
}

function compiled<Module>(name: string): Promise<Module> {
  return import(pathToFileURL(join(dirname(CLI), name)).href);
}
