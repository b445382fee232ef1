import { defineConfig } from "vite";

// One page, one script, one style sheet under fixed names: the program embeds them and serves them with an entity tag.
export default defineConfig({
  base: "./",
  server: { proxy: { "/v1": process.env["CUPEL_URL"] ?? "http://127.0.0.1:8080", "/health": process.env["CUPEL_URL"] ?? "http://127.0.0.1:8080" } },
  build: {
    target: "es2022",
    assetsInlineLimit: 100_000,
    modulePreload: false,
    rollupOptions: { output: { entryFileNames: "dashboard.js", chunkFileNames: "dashboard-[name].js", assetFileNames: "dashboard.[ext]" } },
  },
});
