/** The one markdown dialect of the chat: CommonMark, tables, strikethrough, bare links; no HTML. */

import MarkdownIt from 'markdown-it';

export const markdown = new MarkdownIt({ html: false, linkify: true });
markdown.linkify.set({ fuzzyLink: false, fuzzyEmail: false });

// Column alignment as a class: the content policy forbids inline styles.
for (const cell of ['th_open', 'td_open']) {
  markdown.renderer.rules[cell] = (tokens, at, options, _env, renderer) => {
    const token = tokens[at];
    const align = /text-align:(\w+)/.exec(String(token?.attrGet('style') ?? ''))?.[1];
    if (token && align) token.attrs = [['class', `align-${align}`]];
    return renderer.renderToken(tokens, at, options);
  };
}
