"use strict";
// What a task's page shows, in the part of the address after "#": one can send it to somebody else.
// A part without "=" is an example's id alone. Whatever stands there is text: it selects among what the page has.
const AnyMALAddress = (() => {
  const NAMES = ["tab", "show", "group", "sort", "run", "against", "search", "id"];
  const LONGEST = 2000;
  let last = location.hash;

  function read(hash = location.hash) {
    const text = hash.replace(/^#/, "");
    if (!text) return {};
    if (!text.includes("=")) return { id: decoded(text) };
    const found = {};
    for (const pair of text.split("&")) {
      const at = pair.indexOf("=");
      const name = pair.slice(0, Math.max(0, at));
      if (NAMES.includes(name)) found[name] = decoded(pair.slice(at + 1).replaceAll("+", " ")).slice(0, LONGEST);
    }
    return found;
  }

  function decoded(text) {
    try {
      return decodeURIComponent(text);
    } catch {
      return text; // a link that somebody cut short
    }
  }

  function text(state) {
    const set = NAMES.filter((name) => state[name]);
    if (!set.length) return "";
    if (set.length === 1 && set[0] === "id") return "#" + encodeURIComponent(state.id);
    return "#" + set.map((name) => name + "=" + encodeURIComponent(state[name])).join("&");
  }

  // A new entry of the history is made where Back should lead here again.
  function write(state, { entry = false } = {}) {
    const hash = text(state);
    if (hash === location.hash) return;
    const target = hash || location.pathname + location.search;
    if (entry) history.pushState(null, "", target);
    else history.replaceState(null, "", target);
    last = location.hash;
  }

  // Whether somebody else changed it since: a link, Back, a hand.
  function moved() {
    const changed = location.hash !== last;
    last = location.hash;
    return changed;
  }

  return { read, write, moved };
})();
