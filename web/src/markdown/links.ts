/** Which links of an answer may lead anywhere. */

const SCHEMES = new Set(['http:', 'https:', 'mailto:']);

/** The absolute address of an allowed link, else null. Relative links would point at ourselves. */
export function linkOf(href: string): string | null {
  if (!/^(?:https?:\/\/|mailto:)/i.test(href.trim())) return null;
  try {
    const url = new URL(href);
    return SCHEMES.has(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/** The host a link leads to, as the browser reads it; empty for mail. */
export function hostOf(href: string): string {
  const url = new URL(href);
  return url.protocol === 'mailto:' ? '' : url.host;
}
