import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig, type Plugin } from 'vite';

const OUT = '../src/headrace/chat/static';
const SERVER = process.env['HEADRACE_URL'] ?? 'http://127.0.0.1:4747';
const COMPRESSED = /\.(?:js|css|svg|html)$/;

/** Lays a `.gz` beside every text file, so that the server never compresses. */
function precompress(): Plugin {
  return {
    name: 'precompress',
    apply: 'build',
    closeBundle() {
      for (const entry of readdirSync(OUT, { recursive: true, encoding: 'utf8' })) {
        if (!COMPRESSED.test(entry)) continue;
        const path = join(OUT, entry);
        writeFileSync(`${path}.gz`, gzipSync(readFileSync(path), { level: 9 }));
      }
    },
  };
}

/** Nothing is painted before the theme is known: no flash of the wrong one. */
function renderBlocking(): Plugin {
  return {
    name: 'render-blocking',
    apply: 'build',
    transformIndexHtml: {
      order: 'post',
      handler: (html) => html.replace('<script type="module"', '<script type="module" blocking="render"'),
    },
  };
}

/** The development server stands in front of a running Headrace, under its Origin guard. */
const proxy = { target: SERVER, changeOrigin: true, headers: { origin: SERVER } };

export default defineConfig({
  plugins: [svelte(), renderBlocking(), precompress()],
  build: {
    outDir: OUT,
    emptyOutDir: true,
    assetsInlineLimit: 0, // the content policy allows no data: URLs for scripts, styles or fonts
    modulePreload: { polyfill: false },
    target: 'es2022',
  },
  server: { proxy: { '/chat': proxy, '/signin': proxy } },
  test: { include: ['src/**/*.test.ts'] },
});
