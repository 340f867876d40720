/** Where we are: the path and the query, which hold all filters, so that any view can be shared. */

import { readPlace } from '../lib/place';

class Router {
  #path = $state(location.pathname);
  #search = $state(location.search);
  place = $derived(readPlace(this.#path));
  query = $derived(new URLSearchParams(this.#search));

  constructor() {
    addEventListener('popstate', () => this.#read());
  }

  /** Goes to a path of the ledger and remembers the way back. */
  go(href: string): void {
    if (href === location.pathname + location.search) return;
    history.pushState(null, '', href);
    this.#read();
  }

  /** Changes filters where we are; null takes one away. */
  filter(changes: Record<string, string | null>): void {
    const query = new URLSearchParams(this.query);
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === '') query.delete(name);
      else query.set(name, value);
    }
    const text = query.toString();
    history.replaceState(null, '', location.pathname + (text && `?${text}`));
    this.#read();
  }

  /** Follows plain clicks on our own links without loading the page anew. */
  click(event: MouseEvent): void {
    const link = (event.target as Element).closest('a');
    const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey;
    if (!link || !plain || event.defaultPrevented || link.target || link.hasAttribute('download')) {
      return;
    }
    const href = link.getAttribute('href') ?? '';
    if (!/^\/manage(\/|\?|$)/.test(href)) return;
    event.preventDefault();
    this.go(href);
  }

  #read(): void {
    this.#path = location.pathname;
    this.#search = location.search;
  }
}

export const router = new Router();
