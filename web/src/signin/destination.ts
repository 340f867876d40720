/** Where to go after signing in: a path of this server, never another place. */
export function destination(next: string | null): string {
  return next !== null && /^\/(?![/\\])[\w\-./?=&%+~:,]*$/.test(next) && !next.startsWith('/sign') ? next : '/';
}
