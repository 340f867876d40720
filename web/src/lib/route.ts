/** The places of the page and their paths. */

export type Route = { name: 'new' } | { name: 'chat'; id: string };

export function readRoute(path: string): Route {
  const id = /^\/c\/([0-9a-f-]{36})\/?$/.exec(path)?.[1];
  return id ? { name: 'chat', id } : { name: 'new' };
}

export function routePath(route: Route): string {
  return route.name === 'chat' ? `/c/${route.id}` : '/';
}
