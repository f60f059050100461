/**
 * Keeps the shopper's app on the device, so that the entry code is there without a network. While there is one, the network
 * is asked first: a page and its modules are always of one version, and what is kept is only for when it is away.
 */
const NAME = "tillfree-shell-";
const PATIENCE_MS = 4000;

self.addEventListener("install", (event) => {
  event.waitUntil(keep().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(self.clients.claim());
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== location.origin) return;
  const isPage = request.mode === "navigate";
  if (isPage ? url.pathname !== "/" : !/^\/(static|vendor)\//.test(url.pathname)) return;
  event.respondWith(answer(request));
  if (isPage) event.waitUntil(keep().catch(() => undefined));
});

/** Keep the newest version of everything, all of it or nothing. */
async function keep() {
  const { version, files } = await (await fetch("/shell.json", { cache: "no-store" })).json();
  const name = NAME + version;
  if (await caches.has(name)) return;
  const filling = `${NAME}filling`;
  await caches.delete(filling);
  const fresh = await caches.open(filling);
  await fresh.addAll(files);
  const whole = await caches.open(name);
  for (const request of await fresh.keys()) await whole.put(request, await fresh.match(request));
  for (const other of await caches.keys()) if (other.startsWith(NAME) && other !== name) await caches.delete(other);
}

/** The network's answer; what is kept if there is none in time. */
async function answer(request) {
  const kept = () => caches.match(request, { ignoreSearch: request.mode === "navigate", ignoreVary: true });
  const asked = fetch(request);
  try {
    const late = new Promise((resolve) => setTimeout(resolve, PATIENCE_MS));
    const first = await Promise.race([asked, late]);
    return first ?? (await kept()) ?? (await asked);
  } catch (error) {
    const found = await kept();
    if (found) return found;
    throw error;
  }
}
