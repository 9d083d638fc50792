/** Loads ONNX Runtime, a native library; the only place that does. */
import "./no_telemetry.ts";
import { createRequire } from "node:module";
import type * as OnnxRuntime from "onnxruntime-node";
import { GpruneError, reasonOf } from "../../errors.ts";

/** ONNX Runtime's package, loaded synchronously so that programs can `require` gprune. */
export const onnxRuntime: typeof OnnxRuntime = load();

/** @throws GpruneError UNSUPPORTED where the package has no library for this platform, or it does not load */
function load(): typeof OnnxRuntime {
  try {
    return createRequire(import.meta.url)("onnxruntime-node");
  } catch (cause) {
    const platforms = "Linux with glibc or Windows on x64 or arm64, or macOS on arm64";
    const found = `${process.platform} on ${process.arch} (${reasonOf(cause)})`;
    throw new GpruneError("UNSUPPORTED", `ONNX Runtime: expected ${platforms}, got ${found}`, {
      hint: "In a container use an image with glibc, such as node:22-slim; Alpine Linux has none.",
      cause,
    });
  }
}
