/**
 * SwiftShader, a Vulkan driver for the CPU that comes with Chromium: with it ONNX Runtime's WebGPU provider finds an
 * adapter on a machine without a graphics card. It can show that graphs are correct, but not how fast they are.
 */
import { existsSync } from "node:fs";
import { constants } from "node:os";
import { dirname, join } from "node:path";

/** Directories of Chromium's files in the packages of Debian, Ubuntu and Fedora. */
const DIRECTORIES = ["/usr/lib/chromium", "/usr/lib/chromium-browser", "/usr/lib64/chromium-browser"];
const DRIVER = "vk_swiftshader_icd.json";
const LOADER = "libvulkan.so.1";
/** From glibc's dlfcn.h; missing in Node's constants. */
const RTLD_NODELETE = 0x1000;

/** Path of the driver's manifest; undefined if it is not installed. */
export const SWIFTSHADER: string | undefined = DIRECTORIES.map((directory) => join(directory, DRIVER)).find(
  (path) => existsSync(path) && existsSync(join(dirname(path), LOADER)),
);

/** Environment of a process that must not find an adapter. */
export const NO_ADAPTER: Readonly<Record<string, string>> = { VK_ICD_FILENAMES: "/no/driver.json" };

/**
 * Makes SwiftShader the adapter of this process. LD_LIBRARY_PATH is read when a process starts; a library that is
 * loaded already is found by its name.
 */
export function useSwiftShader(): void {
  process.env.VK_ICD_FILENAMES = SWIFTSHADER!;
  try {
    process.dlopen(
      { exports: {} },
      join(dirname(SWIFTSHADER!), LOADER),
      constants.dlopen.RTLD_NOW | RTLD_NODELETE,
    );
  } catch (error) {
    // The library is loaded; it is not a Node addon, hence the error.
    if (!String(error).includes("Module did not self-register")) throw error;
  }
}
