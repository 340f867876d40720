/** One markdown text in the page: draws what is new, keeps what is finished. */

import { BlockStream } from './blocks';
import { addedText, appendText } from './grow';
import { highlightAll } from './highlight';
import { morph } from './morph';
import { safeNodes } from './safe';

export class MarkdownView {
  #blocks = new BlockStream();
  #shown = '';
  #ended = false;
  /** How many nodes of the host belong to finished blocks; they are never touched again. */
  #kept = 0;
  #tail = '';

  /** Draws into `host`, which it owns from now on. */
  constructor(private readonly host: HTMLElement) {}

  /** Shows `text`; `ended` says that nothing will follow. Cheap where `text` only grew. */
  show(text: string, ended: boolean): void {
    if (text === this.#shown && ended === this.#ended) return;
    if (this.#ended || !text.startsWith(this.#shown)) this.#reset();
    const { finished, tail } = this.#blocks.push(text.slice(this.#shown.length));
    this.#shown = text;
    this.#ended = ended;
    if (!ended) {
      this.#draw(finished, tail);
      return;
    }
    const end = this.#blocks.finish();
    if (end.redrawn) this.#kept = 0;
    this.#draw(end.redrawn ? end.blocks : [...finished, ...end.blocks], '');
  }

  #reset(): void {
    this.#blocks = new BlockStream();
    this.#shown = '';
    this.#kept = 0;
    this.#tail = '';
  }

  /** Puts `finished` and `tail` after what is kept, and keeps `finished`. */
  #draw(finished: readonly string[], tail: string): void {
    const held = this.#tail;
    this.#tail = tail;
    if (finished.length === 0 && (held === tail || this.#appended(held, tail))) return;
    const nodes = safeNodes(finished.join(''));
    const from = this.#kept;
    this.#kept += nodes.childNodes.length;
    nodes.append(safeNodes(tail));
    morph(this.host, nodes, from);
    for (const node of [...this.host.childNodes].slice(from, this.#kept)) {
      if (node instanceof Element) void highlightAll(node);
    }
  }

  #appended(held: string, tail: string): boolean {
    const added = addedText(held, tail);
    return added !== null && appendText(this.host, added.text, added.tags);
  }
}
