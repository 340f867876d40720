/**
 * The short way to draw what nearly every frame of a stream brings: more plain text at the end.
 *
 * The rest (parsing HTML, sanitising, comparing nodes) would be done for nothing.
 */

const CLOSERS = /(?:<\/[a-z0-9]+>\n?)+$/;
/** Links are left out: theirs is a host behind the text. */
const TAG = /<\/(?!a>)([a-z0-9]+)>/g;
const ENTITIES: Record<string, string> = { '&amp;': '&', '&lt;': '<', '&gt;': '>', '&quot;': '"' };

/** The text by which `next` is longer than `held` before its closing tags; null if it is not so. */
export function addedText(held: string, next: string): { text: string; tags: string[] } | null {
  const closers = CLOSERS.exec(held)?.[0];
  if (closers === undefined || !next.endsWith(closers)) return null;
  const open = held.slice(0, held.length - closers.length);
  if (open.endsWith('>') || !next.startsWith(open) || next.length <= held.length) return null;
  const added = next.slice(open.length, next.length - closers.length);
  if (added.includes('<') || cutsEntity(open, added)) return null;
  const tags = [...closers.matchAll(TAG)].map((match) => match[1] ?? '');
  if (tags.length !== closers.split('</').length - 1) return null;
  return { text: added.replace(/&(?:amp|lt|gt|quot);/g, (name) => ENTITIES[name] ?? name), tags };
}

/** Whether an entity would begin in one and end in the other. */
function cutsEntity(open: string, added: string): boolean {
  return /&[a-z]*$/.test(open) || /&[a-z]*$/.test(added);
}

/** Appends to the text that stands last in the innermost of `tags` (innermost first). */
export function appendText(host: Element, text: string, tags: readonly string[]): boolean {
  let element: Element | null = host;
  for (const tag of tags.toReversed()) {
    do element = element?.lastElementChild ?? null;
    while (element && element.localName !== tag);
  }
  const last = element?.lastChild;
  if (!(last instanceof Text)) return false;
  last.appendData(text);
  return true;
}
