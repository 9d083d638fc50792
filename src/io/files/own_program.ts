/**
 * How a program of ours that runs in a process or a thread of its own is started, compiled or from the sources, and
 * what its end says.
 */
import { fileURLToPath, pathToFileURL } from "node:url";

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

/**
 * The module that a thread runs. From the sources that is one that loads tsx first: a thread takes no loader from
 * options of Node.
 * @param name - its path from the module's folder, without its extension
 * @param besides - `import.meta.url` of the module that starts it
 */
export function ownThread(name: string, besides: string): URL {
  const { path, nodeOptions } = ownProgram(name, besides);
  const program = pathToFileURL(path);
  if (nodeOptions.length === 0) return program;
  const [tsx, source] = [import.meta.resolve("tsx/esm/api"), program.href].map((url) => JSON.stringify(url));
  const loading = `import { register } from ${tsx}; register(); await import(${source});`;
  return new URL(`data:text/javascript,${encodeURIComponent(loading)}`);
}

/** What V8, C++ and ONNX Runtime say when they get no memory. */
const NO_MEMORY =
  /out of memory|bad_alloc|ERR_WORKER_OUT_OF_MEMORY|Failed to allocate memory|Array buffer allocation/i;

/** Whether what a program said, an error's message or its stderr, means that it got no memory. */
export function isOutOfMemory(said: string): boolean {
  return NO_MEMORY.test(said);
}
