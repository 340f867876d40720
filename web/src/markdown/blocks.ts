/**
 * Cuts a growing markdown text into finished blocks, which later text cannot change, and a tail.
 *
 * CommonMark closes blocks line by line and never reopens one, so the text may be cut where a
 * top-level block starts after a blank line: a line that starts a block there starts the same
 * block at the top of a text of its own. Without the blank line it may not be cut, since a
 * paragraph, a setext heading, a table or a link definition may still take the line before.
 * Only whole lines count: `#` is a heading until `#x` makes it text.
 *
 * Link definitions reach backwards over all blocks. A finished block that was drawn before its
 * definition came is drawn anew once, at the end (`finish`).
 */

import type { Env as MarkdownEnv, Token } from 'markdown-it';
import { markdown } from './parser';

/** What markdown-it carries from block to block. */
type Env = MarkdownEnv & { references: NonNullable<MarkdownEnv['references']> };

/** What changed: blocks that are finished now, and the tail as it stands. */
export interface Drawn {
  finished: string[];
  tail: string;
}

export class BlockStream {
  #tail = '';
  #heldReturn = '';
  #checkedLines = 0;
  #env: Env = { references: {} };
  #sources: string[] = [];
  #definitionsAtFirst = 0;

  /** Adds text; gives HTML. */
  push(chunk: string): Drawn {
    this.#tail += this.#normalise(chunk);
    const finished = this.#cut();
    return { finished, tail: this.#render(this.#tail, this.#copy()) };
  }

  /**
   * The text is whole: all blocks, drawn with all link definitions known. `redrawn` says that
   * blocks given out before have changed and must be replaced.
   */
  finish(): { redrawn: boolean; blocks: string[] } {
    if (this.#heldReturn) this.#tail += '\n';
    this.#heldReturn = '';
    const sources = this.#tail ? [...this.#sources, this.#tail] : this.#sources;
    const blocks = [this.#render(this.#tail, this.#env)];
    const late = Object.keys(this.#env.references).length > this.#definitionsAtFirst;
    if (!late || this.#sources.length === 0) return { redrawn: false, blocks };
    return { redrawn: true, blocks: sources.map((source) => this.#render(source, this.#env)) };
  }

  #normalise(chunk: string): string {
    const text = this.#heldReturn + chunk;
    this.#heldReturn = text.endsWith('\r') ? '\r' : '';
    return text.slice(0, text.length - this.#heldReturn.length).replace(/\r\n?/g, '\n');
  }

  #cut(): string[] {
    const lines = this.#tail.split('\n');
    lines.pop(); // unfinished line
    if (lines.length === this.#checkedLines) return [];
    this.#checkedLines = lines.length;
    const at = this.#lastSafeStart(lines);
    if (at === 0) return [];
    const source = lines.slice(0, at).join('\n') + '\n';
    this.#tail = this.#tail.slice(source.length);
    this.#checkedLines = lines.length - at;
    const html = this.#render(source, this.#env);
    this.#sources.push(source);
    if (this.#sources.length === 1) {
      this.#definitionsAtFirst = Object.keys(this.#env.references).length;
    }
    return html ? [html] : [];
  }

  /** The line at which the last top-level block starts after a blank line; 0 if there is none. */
  #lastSafeStart(lines: string[]): number {
    if (!lines.some((line, at) => at > 0 && line.trim() !== '' && lines[at - 1]?.trim() === '')) {
      return 0;
    }
    const tokens: Token[] = [];
    markdown.block.parse(lines.join('\n') + '\n', markdown, this.#copy(), tokens);
    for (const token of tokens.reverse()) {
      const start = token.level === 0 && token.nesting >= 0 ? (token.map?.[0] ?? 0) : 0;
      if (start > 0 && lines[start - 1]?.trim() === '') return start;
    }
    return 0;
  }

  #copy(): Env {
    return { references: { ...this.#env.references } };
  }

  #render(source: string, env: Env): string {
    return markdown.render(source, env);
  }
}

/** The whole text at once. */
export function renderWhole(text: string): string {
  return markdown.render(text, { references: {} });
}
