/** Something read from the server: being read, here, or failed with words. */

import { ApiError, failureFrom } from '../../lib/api';
import type { Failure } from '../../lib/types';
import { session } from './session.svelte';

export class Loaded<T> {
  data = $state.raw<T | null>(null);
  failure = $state.raw<Failure | null>(null);
  loading = $state(true);
  #turn = 0;

  constructor(private readonly read: () => Promise<T>) {}

  /** Reads anew; what stands stays until the new comes. Only the last reading counts. */
  load = async (): Promise<void> => {
    const turn = ++this.#turn;
    this.loading = true;
    try {
      const data = await this.read();
      if (turn !== this.#turn) return;
      this.data = data;
      this.failure = null;
    } catch (error) {
      if (turn !== this.#turn) return;
      if (error instanceof ApiError && error.status === 401) session.signedOut();
      this.failure = failureFrom(error);
    } finally {
      if (turn === this.#turn) this.loading = false;
    }
  };
}

/** To be called while a component is set up: reads now, and again when what `read` uses changes. */
export function loaded<T>(read: () => Promise<T>): Loaded<T> {
  const made = new Loaded(read);
  $effect(() => void made.load());
  return made;
}
