/** Versions that a result depends on. */
import { createRequire } from "node:module";

/** Versions of gprune, Node and ONNX Runtime, as recorded in results. */
export function versions(): Readonly<Record<"gprune" | "node" | "onnxruntime", string>> {
  const own = createRequire(import.meta.url)("gprune/package.json") as {
    readonly version: string;
    readonly dependencies: Record<string, string>;
  };
  return {
    gprune: own.version,
    node: process.versions.node,
    onnxruntime: own.dependencies["onnxruntime-node"]!,
  };
}
