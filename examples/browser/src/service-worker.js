/**
 * Keeps every file of the page, so that it opens without a network after the first visit. `built` (version and files) is written above this text by
 * vite.config.ts. Answers only for what it keeps; a new version replaces the old one when the page is opened next.
 */
const cacheName = `langevin-${self.registration.scope}-${built.version}`

self.addEventListener('install', (event) => {
  const requests = built.files.map((file) => new Request(file, { cache: 'no-cache' }))
  event.waitUntil(
    caches
      .open(cacheName)
      .then((cache) => cache.addAll(requests))
      .then(() => self.skipWaiting()),
  )
})

self.addEventListener('activate', (event) => {
  const mine = `langevin-${self.registration.scope}-`
  const old = (names) => names.filter((name) => name.startsWith(mine) && name !== cacheName)
  event.waitUntil(
    caches
      .keys()
      .then((names) => Promise.all(old(names).map((name) => caches.delete(name))))
      .then(() => self.clients.claim()),
  )
})

self.addEventListener('fetch', (event) => {
  if (event.request.method !== 'GET') return
  const page = event.request.mode === 'navigate' && event.request.url.split(/[?#]/)[0] === self.registration.scope
  const wanted = page ? 'index.html' : event.request
  event.respondWith(
    caches
      .open(cacheName)
      .then((cache) => cache.match(wanted, { ignoreSearch: true }))
      .then((kept) => kept ?? fetch(event.request)),
  )
})
