/** Follows a running reply over as many connections as it takes. */

import { ApiError, api } from '../lib/api';
import { reduce } from '../lib/reduce';
import type { Message } from '../lib/types';

const WAIT_MS_MAX = 10_000;

/** How long to wait before the `attempt`-th new connection (from 0), in milliseconds. */
export function waitMs(attempt: number, random: number): number {
  const whole = Math.min(WAIT_MS_MAX, 250 * 2 ** attempt);
  return whole * (0.5 + random / 2);
}

/** Waits, but not longer than until the network is back or `signal` fires. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener('online', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    addEventListener('online', done);
    signal.addEventListener('abort', done);
  });
}

/** Runs `draw` at most once per frame; in a hidden page, where no frames come, now and then. */
export function perFrame(draw: () => void): () => void {
  let due = false;
  return () => {
    if (due) return;
    due = true;
    const run = () => {
      due = false;
      draw();
    };
    if (document.hidden) setTimeout(run, 250);
    else requestAnimationFrame(run);
  };
}

export interface Follower {
  /** The reply as far as it is known; called at most once per frame, and at the end. */
  show(message: Message): void;
  /** Whether a connection is being looked for. */
  connecting(waiting: boolean): void;
}

/** Follows until the end. Returns false if `signal` fired; throws ApiError if it is hopeless. */
export async function follow(
  conversation: string, start: Message, follower: Follower, signal: AbortSignal,
): Promise<boolean> {
  let message = start;
  let ended = false;
  const draw = perFrame(() => {
    if (!signal.aborted && !ended) follower.show(message);
  });
  for (let attempt = 0; !signal.aborted; attempt += 1) {
    const seen = message.seq;
    const connection = new AbortController();
    try {
      const both = AbortSignal.any([signal, connection.signal]);
      for await (const event of api.stream(conversation, message.id, message.seq, both)) {
        follower.connecting(false);
        message = reduce(message, event); // throws Gap: reconnect after what we have
        ended = message.status !== 'running';
        if (ended) {
          follower.show(message);
          return true;
        }
        draw();
      }
    } catch (error) {
      if (error instanceof ApiError && error.status >= 400 && error.status < 500) throw error;
    } finally {
      connection.abort();
    }
    if (message.seq > seen) attempt = 0;
    if (attempt > 0) follower.connecting(true);
    await pause(waitMs(attempt, Math.random()), signal);
  }
  return false;
}
