/** Builds the page of `gprune ui` into dist/page, where src/ui/server.ts finds it. */
import { join } from "node:path";
import { defineConfig, type UserConfig } from "vite";

const config: UserConfig = defineConfig({
  root: import.meta.dirname,
  base: "/",
  publicDir: false,
  logLevel: "error",
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: join(import.meta.dirname, "..", "dist", "page"),
    emptyOutDir: true,
    // The page's policy allows nothing inline.
    assetsInlineLimit: 0,
    modulePreload: false,
    license: { fileName: "licences.md" },
  },
});

export default config;
