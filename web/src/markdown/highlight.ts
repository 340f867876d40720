/** Colours finished code. Highlighter and languages are chunks of their own, loaded on demand. */

import type { HLJSApi, LanguageFn } from 'highlight.js';
import { LANGUAGES, nameOf } from './languages';
import { safeNodes } from './safe';

const CODE_CHARS_MAX = 50_000; // beyond this colouring costs more than it helps

let core: Promise<HLJSApi> | null = null;

async function highlighter(name: string): Promise<HLJSApi | null> {
  const load = LANGUAGES[name];
  if (!load) return null;
  core ??= import('highlight.js/lib/core').then((module) => module.default);
  const [hljs, language] = await Promise.all([core, load()]);
  if (!hljs.getLanguage(name)) hljs.registerLanguage(name, language.default as LanguageFn);
  return hljs;
}

/** Colours all code blocks below `root` whose language is known. */
export async function highlightAll(root: ParentNode): Promise<void> {
  const blocks = [...root.querySelectorAll<HTMLElement>('pre > code[class*="language-"]')];
  await Promise.all(blocks.map(highlight));
}

async function highlight(code: HTMLElement): Promise<void> {
  const name = nameOf(/language-(\S+)/.exec(code.className)?.[1] ?? '');
  const source = code.textContent ?? '';
  if (!name || source.length > CODE_CHARS_MAX) return;
  const hljs = await highlighter(name);
  if (!hljs) return;
  const { value } = hljs.highlight(source, { language: name, ignoreIllegals: true });
  code.replaceChildren(safeNodes(value));
}
