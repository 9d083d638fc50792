/**
 * Builds the command line, the library and the programs that they start into one folder: few files, because reading
 * hundreds of modules took longer than most commands, and one folder, because a program is started from the folder of
 * the module that starts it (src/io/files/own_program.ts).
 */
import { join } from "node:path";
import { defineConfig, type UserConfig } from "vite";

const source = (path: string): string => join(import.meta.dirname, "src", path);

const config: UserConfig = defineConfig({
  root: import.meta.dirname,
  publicDir: false,
  logLevel: "error",
  ssr: { noExternal: ["zod"] },
  build: {
    ssr: true,
    target: "node20",
    outDir: "dist",
    minify: false,
    license: { fileName: "licences.md" },
    rolldownOptions: {
      input: {
        cli: source("cli/main.ts"),
        index: source("index.ts"),
        workers: source("workers/index.ts"),
        unit_child: source("workers/unit_child.ts"),
        parquet_child: source("io/texts/parquet_child.ts"),
        peak_memory_child: source("evaluate/peak_memory_child.ts"),
        template_thread: source("jinja/template_thread.ts"),
      },
      output: { entryFileNames: "[name].js", chunkFileNames: "[name].js" },
    },
  },
});

export default config;
