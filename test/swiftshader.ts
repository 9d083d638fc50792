/**
 * SwiftShader, a Vulkan driver that computes on the CPU, as Chromium brings it: with it ONNX Runtime's WebGPU provider
 * finds an adapter on a machine without a graphics card. It says whether graphs are right there, and nothing about
 * speed.
 */
import { existsSync } from "node:fs";
import { constants } from "node:os";
import { dirname, join } from "node:path";

/** Where the packages of Debian, Ubuntu and Fedora put Chromium's own files. */
const DIRECTORIES = ["/usr/lib/chromium", "/usr/lib/chromium-browser", "/usr/lib64/chromium-browser"];
const DRIVER = "vk_swiftshader_icd.json";
const LOADER = "libvulkan.so.1";
/** RTLD_NODELETE of glibc's dlfcn.h, which Node has no name for. */
const STAYS = 0x1000;

/** The driver's description; undefined where there is none. */
export const SWIFTSHADER: string | undefined = DIRECTORIES.map((directory) => join(directory, DRIVER)).find(
  (path) => existsSync(path) && existsSync(join(dirname(path), LOADER)),
);

/** What a process has that is to find no adapter at all. */
export const NO_ADAPTER: Readonly<Record<string, string>> = { VK_ICD_FILENAMES: "/no/driver.json" };

/**
 * Makes SwiftShader the adapter of this process. LD_LIBRARY_PATH is read when a process starts; a library that is
 * loaded already is found by its name.
 */
export function useSwiftShader(): void {
  process.env.VK_ICD_FILENAMES = SWIFTSHADER!;
  try {
    process.dlopen({ exports: {} }, join(dirname(SWIFTSHADER!), LOADER), constants.dlopen.RTLD_NOW | STAYS);
  } catch (error) {
    // It is loaded, and is no module of Node.
    if (!String(error).includes("Module did not self-register")) throw error;
  }
}
