/**
 * Start of gprune's own programs in child processes and threads, compiled or from the sources, and the diagnosis of
 * their failures.
 */
import { fileURLToPath, pathToFileURL } from "node:url";

/** Arguments of Node that start a program. */
export interface OwnProgram {
  readonly path: string;
  /** Options of Node that let it run the program. */
  readonly nodeOptions: readonly string[];
}

/**
 * The program of a child process.
 * @param name - file name without its extension
 * @param siblingUrl - `import.meta.url` of a module in the same folder
 */
export function ownProgram(name: string, siblingUrl: string): OwnProgram {
  const isSource = siblingUrl.endsWith(".ts");
  return {
    path: fileURLToPath(new URL(`./${name}${isSource ? ".ts" : ".js"}`, siblingUrl)),
    nodeOptions: isSource ? ["--import", "tsx"] : [],
  };
}

/**
 * The module of a thread. When running from the sources, it is a wrapper that loads tsx first, because threads do not
 * inherit the loader from the options of Node.
 * @param name - its path from the module's folder, without its extension
 * @param siblingUrl - `import.meta.url` of the module that starts it
 */
export function ownThread(name: string, siblingUrl: string): URL {
  const { path, nodeOptions } = ownProgram(name, siblingUrl);
  const program = pathToFileURL(path);
  if (nodeOptions.length === 0) return program;
  const [tsx, source] = [import.meta.resolve("tsx/esm/api"), program.href].map((url) => JSON.stringify(url));
  const wrapper = `import { register } from ${tsx}; register(); await import(${source});`;
  return new URL(`data:text/javascript,${encodeURIComponent(wrapper)}`);
}

/** Messages of V8, C++ and ONNX Runtime about failed allocations. */
const NO_MEMORY =
  /out of memory|bad_alloc|ERR_WORKER_OUT_OF_MEMORY|Failed to allocate memory|Array buffer allocation/i;

/** Whether an error message or the stderr of a program reports a failed allocation. */
export function isOutOfMemory(text: string): boolean {
  return NO_MEMORY.test(text);
}
