"use strict";
// Sends the page's token with the requests of Locust's script: without it the server changes nothing.
(() => {
  const token = document.querySelector("meta[name=csrf-token]").content;
  const send = window.fetch;
  window.fetch = async (resource, options) => {
    const request = new Request(resource, options);
    if (new URL(request.url).origin === location.origin) request.headers.set("X-CSRF-Token", token);
    const response = await send(request);
    // The session has ended, or the load test was started again: the new page has a new token.
    if (response.status === 401 || (response.status === 403 && request.method !== "GET")) location.reload();
    return response;
  };
})();
