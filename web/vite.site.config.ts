import { copyFileSync } from "node:fs";
import { defineConfig } from "vite";

// The documentation site works from a folder (file://), where browsers load no modules: one classic script, one style sheet.
export default defineConfig({
  build: {
    outDir: "dist/site",
    target: "es2022",
    lib: { entry: "src/docs.ts", name: "cupelSite", formats: ["iife"], fileName: () => "site.js" },
    rollupOptions: { output: { assetFileNames: "site.[ext]" } },
  },
  plugins: [{ name: "page", closeBundle: () => copyFileSync("site/index.html", "dist/site/index.html") }],
});
