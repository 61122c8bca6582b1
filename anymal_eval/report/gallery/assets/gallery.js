"use strict";
// The list of examples: filters, search, sorting, parts of 50, keyboard, and a deep link for each.
const AnyMALGallery = (() => {
  const { make, said, number } = AnyMALText;
  const PART = 50;
  const EPSILON = 1e-9;
  const byId = (name) => document.getElementById(name);
  const data = document.querySelector('script[src*="/data/"]').getAttribute("src").replace(/index\.js$/, "");
  const chunks = new Map(); // number -> { promise, resolve }
  let index = null;
  let places = new Map(); // id -> position in index.rows
  let found = []; // positions in index.rows, as filtered and sorted
  let part = 0;
  let open = null; // id of the example that is open

  function chunk(name) {
    const key = String(name);
    if (!chunks.has(key)) {
      const entry = {};
      entry.promise = new Promise((resolve, reject) => {
        entry.resolve = resolve;
        const script = document.createElement("script");
        script.src = `${data}chunk-${key}.js`;
        script.onerror = () => reject(new Error(`${script.src} is not there`));
        document.head.append(script);
      });
      chunks.set(key, entry);
    }
    return chunks.get(key).promise;
  }

  // Each data file calls this once with a string of JSON.
  function receive(name, text) {
    if (name === "index") start(JSON.parse(text));
    else chunks.get(name)?.resolve(new Map(JSON.parse(text).map((each) => [each.id, each])));
  }

  function base() {
    return Number(byId("base")?.value ?? 1);
  }

  function change(row) {
    const [now, before] = [row.v[0], row.v[base()] ?? null];
    return now === null || before === null ? null : now - before;
  }

  const SHOW = {
    all: () => true,
    right: (row) => row.ok[0] === true,
    wrong: (row) => row.ok[0] === false,
    error: (row) => row.s.includes("error"),
    empty: (row) => row.s.includes("empty"),
    unparsable: (row) => row.s.includes("unparsable"),
    fixed: (row) => row.ok[0] === true && row.ok[base()] === false,
    broken: (row) => row.ok[0] === false && row.ok[base()] === true,
    "both-wrong": (row) => row.ok[0] === false && row.ok[base()] === false,
    "both-right": (row) => row.ok[0] === true && row.ok[base()] === true,
    rose: (row) => change(row) > EPSILON,
    fell: (row) => change(row) < -EPSILON,
    differs: (row) => row.a[0] !== row.a[base()],
  };

  // What has no score stands last in every order.
  function sorter(value) {
    return (one, other) => {
      const [a, b] = [value(index.rows[one]), value(index.rows[other])];
      if (a === null || b === null) return (a === null) - (b === null) || one - other;
      return a - b || one - other;
    };
  }

  const SORT = {
    low: (row) => row.v[0],
    high: (row) => (row.v[0] === null ? null : -row.v[0]),
    fall: change,
    rise: (row) => (change(row) === null ? null : -change(row)),
  };

  function haystack(row) {
    row.text ??= [row.id, row.q, row.r, ...row.a.filter(Boolean)].join("\n").toLowerCase();
    return row.text;
  }

  function filter() {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const shown = SHOW[byId("show").value];
    const group = byId("group").value ? JSON.parse(byId("group").value) : null;
    found = [];
    index.rows.forEach((row, at) => {
      if (!shown(row) || (group && row.g[group[0]] !== group[1])) return;
      if (words.every((word) => haystack(row).includes(word))) found.push(at);
    });
    const order = SORT[byId("sort").value];
    if (order) found.sort(sorter(order));
    const all = index.rows.length;
    byId("count").textContent = found.length === all ? `${all.toLocaleString("en")} examples` : `${found.length.toLocaleString("en")} of ${all.toLocaleString("en")} examples`;
    const at = place();
    turn(at < 0 ? 0 : Math.floor(at / PART));
  }

  function place() {
    return open === null ? -1 : found.indexOf(places.get(open));
  }

  function thumb(row) {
    if (Array.isArray(row.t)) return AnyMALExample.wave(row.t, "thumb");
    if (row.t === null) return make("span", "thumb");
    const image = make("img", "thumb");
    image.loading = "lazy";
    image.decoding = "async";
    image.alt = "";
    image.src = "../" + row.t;
    return image;
  }

  function outcome(row, at) {
    const state = row.s[at];
    if (state === null) return make("span", "badge", "none");
    if (state !== "ok") return make("span", "badge " + state, state);
    const word = row.ok[at] === null ? "" : row.ok[at] ? "right" : "wrong";
    const value = index.kind === "choice" ? "" : number(row.v[at]);
    // A caption is good or bad by degrees: its colour says on which side of the line, the number says it all.
    const text = index.kind === "caption" ? value : [word, value].filter(Boolean).join(" ");
    return make("span", "badge " + word, text || "ok");
  }

  function line(position) {
    const row = index.rows[position];
    const words = make("span", "row-words", said("span", "row-question", row.q || row.l || row.id));
    const shown = index.runs.length > 1 ? [base(), 0] : [0];
    for (const at of shown) {
      const which = index.runs.length > 1 ? make("span", "which", at === 0 ? "now" : "was") : null;
      words.append(make("span", "row-answer", which, said("bdi", "", row.a[at] ?? ""), outcome(row, at)));
    }
    const link = make("a", "row", thumb(row), words);
    link.href = "#" + encodeURIComponent(row.id);
    if (row.id === open) link.setAttribute("aria-current", "true");
    return make("li", "", link);
  }

  function turn(to) {
    const parts = Math.max(1, Math.ceil(found.length / PART));
    part = Math.min(Math.max(0, to), parts - 1);
    const held = byId("list").contains(document.activeElement);
    byId("list").start = part * PART + 1;
    byId("list").replaceChildren(...found.slice(part * PART, (part + 1) * PART).map(line));
    byId("part").textContent = `part ${part + 1} of ${parts}`;
    byId("before").disabled = part === 0;
    byId("after").disabled = part === parts - 1;
    // The row that had the focus is gone: it goes to the same example's new row, else to the first.
    if (held) (marked() ?? byId("list").querySelector("a"))?.focus({ preventScroll: true });
  }

  function marked() {
    return byId("list").querySelector('[aria-current="true"]');
  }

  // Opens an example: its link in the address, its row marked, its details beside the list.
  async function show(id, { focus = false } = {}) {
    const position = places.get(id);
    if (position === undefined) {
      open = null;
      byId("example").replaceChildren(make("p", "note", `There is no example ${id} here.`));
      return;
    }
    open = id;
    const hash = "#" + encodeURIComponent(id);
    if (location.hash !== hash) history.replaceState(null, "", hash);
    byId("browser").classList.add("opened");
    const at = place();
    if (at >= 0 && Math.floor(at / PART) !== part) turn(Math.floor(at / PART));
    marked()?.removeAttribute("aria-current");
    if (at >= 0) byId("list").children[at - part * PART].firstElementChild.setAttribute("aria-current", "true");
    marked()?.scrollIntoView({ block: "nearest" });
    if (focus) marked()?.focus({ preventScroll: true });
    try {
      const details = (await chunk(index.rows[position].c)).get(id);
      if (open !== id) return; // somebody has gone on meanwhile
      AnyMALExample.show(byId("example"), details, index);
      back();
    } catch (error) {
      byId("example").replaceChildren(make("p", "note", String(error.message)));
    }
  }

  // On a narrow screen the example takes the list's place, with a way back.
  function back() {
    const button = make("button", "back", "Back to the list");
    button.type = "button";
    button.addEventListener("click", close);
    byId("example").prepend(button);
  }

  function close() {
    byId("browser").classList.remove("opened");
    (marked() ?? byId("list").querySelector("a") ?? byId("search")).focus();
  }

  function step(by) {
    if (!found.length) return;
    const at = place();
    const to = at < 0 ? (by > 0 ? part * PART : -1) : at + by;
    if (to >= 0 && to < found.length) show(index.rows[found[to]].id, { focus: true });
  }

  const KEYS = { j: 1, k: -1, ArrowDown: 1, ArrowUp: -1, ArrowRight: 1, ArrowLeft: -1 };

  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const on = event.target;
    const busy = on.matches("input, select, textarea, audio, video");
    if (event.key === "Escape") {
      if (on.id === "search" && on.value) return; // the field empties itself first
      close();
      event.preventDefault();
    } else if (!busy && event.key === "/") {
      byId("search").focus();
      event.preventDefault();
    } else if (!busy && event.key in KEYS && !(event.key.startsWith("Arrow") && on.matches(".long, .scroll"))) {
      // Arrows scroll the page until an example is open: then they go from one to the next.
      if (event.key.startsWith("Arrow") && open === null) return;
      step(KEYS[event.key]);
      event.preventDefault();
    }
  }

  function linked() {
    let id = "";
    try {
      id = decodeURIComponent(location.hash.slice(1));
    } catch {
      id = location.hash.slice(1); // a link that somebody cut short
    }
    if (id && id !== "examples" && id !== open) show(id);
  }

  function groups() {
    const counted = new Map();
    for (const row of index.rows) {
      for (const pair of Object.entries(row.g)) {
        const key = JSON.stringify(pair);
        counted.set(key, (counted.get(key) ?? 0) + 1);
      }
    }
    for (const key of [...counted.keys()].sort()) {
      const [name, value] = JSON.parse(key);
      const option = make("option", "", `${name}: ${value} (${counted.get(key)})`);
      option.value = key;
      byId("group").append(option);
    }
  }

  function start(received) {
    index = received;
    places = new Map(index.rows.map((row, at) => [row.id, at]));
    groups();
    for (const name of ["show", "base", "group", "sort"]) byId(name)?.addEventListener("change", filter);
    let waiting = 0;
    byId("search").addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(filter, 120);
    });
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    byId("before").addEventListener("click", () => turn(part - 1));
    byId("after").addEventListener("click", () => turn(part + 1));
    document.addEventListener("keydown", pressed);
    window.addEventListener("hashchange", linked);
    filter();
    linked();
    document.documentElement.dataset.ready = "true";
  }

  return { receive };
})();
