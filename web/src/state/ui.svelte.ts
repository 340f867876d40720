/** What belongs to this page alone: theme, sidebar, the dialog that is open. */

import { MediaQuery } from 'svelte/reactivity';
import type { Conversation } from '../lib/types';

export type Theme = 'system' | 'light' | 'dark';
export const THEMES: readonly Theme[] = ['system', 'light', 'dark'];

const THEME_KEY = 'headrace.theme';
const SIDEBAR_KEY = 'headrace.sidebar';

type Dialog = { kind: 'rename' | 'remove'; conversation: Conversation };

function storedTheme(): Theme {
  const stored = localStorage.getItem(THEME_KEY);
  return THEMES.find((theme) => theme === stored) ?? 'system';
}

export function applyTheme(theme: Theme): void {
  document.documentElement.dataset['theme'] = theme;
}

class Ui {
  theme = $state<Theme>(storedTheme());
  dialog = $state.raw<Dialog | null>(null);
  /** What the live region says. */
  spoken = $state('');
  readonly #narrow = new MediaQuery('max-width: 52rem');
  #docked = $state(localStorage.getItem(SIDEBAR_KEY) !== 'closed');
  #drawer = $state(false);

  get narrow(): boolean {
    return this.#narrow.current;
  }

  get sidebar(): boolean {
    return this.narrow ? this.#drawer : this.#docked;
  }

  setTheme(theme: Theme): void {
    this.theme = theme;
    localStorage.setItem(THEME_KEY, theme);
    applyTheme(theme);
  }

  toggleSidebar(): void {
    if (this.narrow) {
      this.#drawer = !this.#drawer;
    } else {
      this.#docked = !this.#docked;
      localStorage.setItem(SIDEBAR_KEY, this.#docked ? 'open' : 'closed');
    }
  }

  /** On a phone, whoever chose something in the drawer wants to see it. */
  closeDrawer(): void {
    this.#drawer = false;
  }
}

export const ui = new Ui();
