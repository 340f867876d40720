/** Reads parts as the server sends them, and joins what a stream adds to them. */

import type { Part } from './types';

type Raw = Record<string, unknown>;

const text = (value: unknown): string => (typeof value === 'string' ? value : '');

/** A part of an unknown kind is kept and shown raw: newer servers may know more than we do. */
export function readPart(value: unknown): Part {
  const raw: Raw = typeof value === 'object' && value !== null ? (value as Raw) : {};
  switch (raw['type']) {
    case 'text':
      return { type: 'text', text: text(raw['text']) };
    case 'thinking':
      return { type: 'thinking', text: text(raw['text']) };
    case 'tool_call':
      return {
        type: 'tool_call',
        id: text(raw['id']),
        name: text(raw['name']),
        arguments: text(raw['arguments']),
      };
    default:
      return { type: 'unknown', type_name: text(raw['type']) || 'unknown', raw: value };
  }
}

/** Appends `more` to `held`; where their kinds differ the newer one stands. */
export function joinPart(held: Part | undefined, more: Part): Part {
  if (held?.type === 'text' && more.type === 'text') {
    return { type: 'text', text: held.text + more.text };
  }
  if (held?.type === 'thinking' && more.type === 'thinking') {
    return { type: 'thinking', text: held.text + more.text };
  }
  if (held?.type === 'tool_call' && more.type === 'tool_call') {
    return { ...held, arguments: held.arguments + more.arguments };
  }
  return more;
}

/** The plain text of a message, as copied to the clipboard. */
export function textOf(parts: readonly Part[]): string {
  return parts.map((part) => (part.type === 'text' ? part.text : '')).join('');
}
