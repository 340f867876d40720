/** Reading again and again, only while somebody looks. */

import type { Loaded } from './loaded.svelte';

/** To be called while a component is set up. */
export function poll(of: Loaded<unknown>, everyMs: number): void {
  $effect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let stopped = false;
    const next = () => {
      clearTimeout(timer);
      if (!stopped && !document.hidden) timer = setTimeout(() => void of.load().then(next), everyMs);
    };
    const seen = () => {
      if (!document.hidden) void of.load().then(next);
    };
    document.addEventListener('visibilitychange', seen);
    next();
    return () => {
      stopped = true;
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', seen);
    };
  });
}
