// Keeps the page current: the server says "the site changed", htmx fetches the page's live part.
// Without this file the page is complete and only has to be reloaded by hand.
"use strict";

(() => {
  const state = document.getElementById("live-state");
  let shown = document.body.dataset.revision;
  let waiting = false;

  const show = (live) => {
    state.dataset.live = live ? "yes" : "no";
    state.textContent = live ? "Live" : "Not live, reconnecting…";
  };

  // Somebody marks text to copy it: replacing it now would undo the marking.
  const isSelecting = () => {
    const selection = document.getSelection();
    return selection !== null && !selection.isCollapsed;
  };

  const refresh = () => {
    if (isSelecting() || document.hidden) {
      waiting = true;
      return;
    }
    waiting = false;
    document.body.dispatchEvent(new Event("site-changed"));
  };

  const resume = () => {
    if (waiting) refresh();
  };

  document.addEventListener("selectionchange", resume);
  document.addEventListener("visibilitychange", resume);

  const source = new EventSource("/events");
  source.addEventListener("open", () => show(true));
  source.addEventListener("error", () => show(false));
  source.addEventListener("site", (event) => {
    const revision = String(JSON.parse(event.data).revision);
    if (revision !== shown) {
      shown = revision;
      refresh();
    }
  });
})();
