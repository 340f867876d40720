/** Whole sentences for the live region: a screen reader shall not hear tokens. */

const END = /[.!?…](?=["'”’)\]]*(?:\s|$))["'”’)\]]*|[。！？]|\n{2,}/gu;

/** Where the last whole sentence of `text` ends, or `from` if none ended since. */
export function lastSentenceEnd(text: string, from: number): number {
  let end = from;
  END.lastIndex = from;
  for (let hit = END.exec(text); hit; hit = END.exec(text)) {
    const after = hit.index + hit[0].length;
    if (after < text.length || hit[0].endsWith('\n')) end = after; // more may follow "3." or "e.g."
  }
  return end;
}

/** Markdown as it is read aloud: marks dropped, code named and not spelt. */
export function spoken(markdown: string): string {
  return markdown
    .replace(/^(`{3,}|~{3,})[^\n]*\n[\s\S]*?(?:^\1[^\n]*$|$(?![\s\S]))/gm, ' (code) ')
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/^\s{0,3}(?:#{1,6}\s+|>\s?|[-*+]\s+)/gm, '')
    .replace(/^\s*\|?(?:\s*:?-+:?\s*\|)+\s*:?-*:?\s*$/gm, '')
    .replace(/\*\*|__|~~|[*`|]/g, ' ')
    .replace(/\s+/g, ' ')
    .trim();
}
