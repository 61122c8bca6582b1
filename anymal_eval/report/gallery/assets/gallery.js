"use strict";
// A task's page: what its choices and its address leave of the examples, in a list in parts, the example beside it, the keyboard.
const AnyMALGallery = (() => {
  const { make } = AnyMALText;
  const PART = 50;
  const TABS = ["examples", "overview", "measurements"];
  const DEFAULTS = { tab: "examples", show: "all", group: "", sort: "", run: "", against: "", search: "" };
  const byId = (name) => document.getElementById(name);
  const narrow = window.matchMedia("(max-width: 46rem)");
  let index = null;
  let places = new Map(); // id -> place in the index
  let state = { ...DEFAULTS };
  let found = []; // places, as filtered and sorted
  let part = 0;
  let open = null; // id of the example that is shown
  let searches = 0; // how often the examples were filtered, likewise
  let typing = 0; // the timer of what is being typed
  let turns = 0; // how often the list was drawn: what is overtaken is not drawn

  function written(options) {
    const [own, base] = AnyMALRows.pair();
    const address = { ...state, run: own ? index.runs[own] : "", against: base !== index.base ? index.runs[base] : "" };
    if (address.sort === AnyMALRows.orders()[0][0]) address.sort = "";
    for (const [name, usual] of Object.entries(DEFAULTS)) if (address[name] === usual) address[name] = "";
    AnyMALAddress.write(address, options);
  }

  // Filters, searches and sorts; then the list is drawn anew, with an example beside it: the one that the address names,
  // the one that was chosen and still fits, or the first.
  async function filter({ id = "", write = true } = {}) {
    const mine = (searches += 1);
    Object.assign(state, AnyMALChoices.read());
    const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
    const { fits, order } = AnyMALChoices.rules(state);
    const searched = words.length ? await AnyMALFiles.texts((at, all) => mine === searches && reading(at, all)) : null;
    if (mine !== searches) return;
    found = [];
    for (let at = 0; at < index.ids.length; at += 1) {
      if (fits(at) && (!searched || words.every((word) => searched.texts[at].includes(word)))) found.push(at);
    }
    AnyMALRows.sort(found, order);
    const exact = places.get(state.search);
    if (exact !== undefined && found.includes(exact)) found = [exact, ...found.filter((at) => at !== exact)];
    const all = index.ids.length;
    byId("count").textContent = found.length === all ? `${all.toLocaleString("en")} example${all === 1 ? "" : "s"}` : `${found.length.toLocaleString("en")} of ${all.toLocaleString("en")} examples`;
    AnyMALChoices.marks(state, !found.length);
    const follow = !state.id || place() < 0 || exact !== undefined;
    if (follow) state.id = "";
    await turn(follow ? 0 : Math.floor(place() / PART));
    if (mine !== searches) return;
    if (searched?.problem) broken(searched.problem);
    if (!found.length) nothing();
    if (id) await (places.has(id) ? show(places.get(id), { chosen: true }) : unknown(id));
    else if (follow && found.length && !narrow.matches) await show(found[0]);
    else where();
    if (write) written();
  }

  function reading(at, all) {
    if (at && all > 4 * index.rows) byId("count").textContent = `reading ${at.toLocaleString("en")} of ${all.toLocaleString("en")}`;
  }

  // What is wrong with the report's files, above the list; it goes with the next list.
  function broken(problem) {
    byId("broken").hidden = !problem;
    byId("broken").textContent = problem ? problem.message : "";
  }

  function nothing() {
    open = null;
    byId("example").replaceChildren(make("p", "quiet", "Nothing found: no example to show."));
    where();
  }

  function cleared() {
    AnyMALChoices.clear();
    filter();
    if (!narrow.matches) byId("search").focus();
  }

  // What was typed last is searched at once, without waiting for more.
  async function typed() {
    if (!typing) return;
    clearTimeout(typing);
    typing = 0;
    await filter();
  }

  function place() {
    return open === null ? -1 : found.indexOf(places.get(open));
  }

  async function turn(to) {
    const parts = Math.max(1, Math.ceil(found.length / PART));
    part = Math.min(Math.max(0, to), parts - 1);
    const mine = (turns += 1);
    const shown = found.slice(part * PART, (part + 1) * PART);
    const { rows, problem } = await AnyMALFiles.rows(shown);
    if (mine !== turns) return;
    broken(problem);
    byId("list").replaceChildren(...shown.map((at, place) => AnyMALRows.line(at, rows[place])));
    byId("list").start = part * PART + 1;
    byId("list").scrollTop = 0;
    byId("part").textContent = parts > 1 ? `${(part * PART + 1).toLocaleString("en")}\u2013${(part * PART + shown.length).toLocaleString("en")} of ${found.length.toLocaleString("en")}` : "";
    byId("before").disabled = part === 0;
    byId("after").disabled = part + 1 >= parts;
    byId("list").nextElementSibling.hidden = parts === 1;
    mark();
  }

  function marked() {
    return byId("list").querySelector('[aria-current="true"]');
  }

  // Marks the row of the open example and scrolls the list, never the page, to it.
  function mark() {
    marked()?.removeAttribute("aria-current");
    const at = place();
    const link = at >= 0 ? byId("list").children[at - part * PART]?.querySelector("a") : null;
    if (!link) return;
    link.setAttribute("aria-current", "true");
    const [list, box, edge] = [byId("list"), link.getBoundingClientRect(), byId("list").getBoundingClientRect()];
    if (box.top < edge.top) list.scrollTop -= edge.top - box.top + 4;
    else if (box.bottom > edge.bottom) list.scrollTop += box.bottom - edge.bottom + 4;
  }

  function where() {
    const at = place();
    byId("where").textContent = at < 0 ? "" : `${(at + 1).toLocaleString("en")} of ${found.length.toLocaleString("en")}`;
    byId("previous").disabled = at <= 0;
    byId("next").disabled = !found.length || at === found.length - 1;
  }

  // Shows an example beside the list; on a narrow screen in its place.
  async function show(place_, { chosen = false, focus = false, entry = false } = {}) {
    const id = index.ids[place_];
    open = id;
    if (chosen) state.id = id;
    const at = place();
    if (at >= 0 && Math.floor(at / PART) !== part) await turn(Math.floor(at / PART));
    if (open !== id) return;
    mark();
    where();
    if (chosen) {
      document.body.classList.add("opened");
      written({ entry });
      if (narrow.matches) window.scrollTo(0, 0);
      else byId("browser").scrollIntoView({ block: "nearest" }); // in a low window the page scrolls too
    }
    if (focus) (narrow.matches ? byId("example") : marked())?.focus({ preventScroll: true });
    try {
      const found_ = await AnyMALFiles.details(place_);
      if (open !== id) return; // somebody has gone on meanwhile
      AnyMALExample.show(byId("example"), found_, index, AnyMALRows.pair());
      byId("example").scrollTop = 0;
    } catch (error) {
      byId("example").replaceChildren(make("p", "note", String(error.message)));
    }
  }

  function unknown(id) {
    open = null;
    state.id = "";
    document.body.classList.add("opened");
    const all = make("button", "", "Show all examples");
    all.type = "button";
    all.addEventListener("click", () => {
      cleared();
      close();
    });
    byId("example").replaceChildren(make("p", "note", `There is no example ${id} here.`), all);
    mark();
    where();
  }

  function close() {
    document.body.classList.remove("opened");
    if (narrow.matches) {
      state.id = "";
      written();
    }
    const to = marked() ?? byId("list").querySelector("a");
    if (narrow.matches) to?.scrollIntoView({ block: "center" });
    if (to) to.focus({ preventScroll: true });
    else document.activeElement.blur();
  }

  function step(by) {
    if (!found.length) return;
    const at = place();
    const to = at < 0 ? (by > 0 ? part * PART : -1) : at + by;
    if (to >= 0 && to < found.length) show(found[to], { chosen: true, focus: true });
  }

  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || state.tab !== "examples") return;
    const on = event.target;
    const arrow = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") {
      close();
      if (typing) typed().then(() => marked()?.focus({ preventScroll: true }));
    } else if (on.matches("input, textarea")) {
      if (event.key !== "Enter") return;
      typed().then(() => found.length && show(found[0], { chosen: true, focus: true }));
    } else if (event.key === "/") {
      document.body.classList.remove("opened");
      byId("search").focus();
      byId("search").select();
    } else if (event.key === "j" || event.key === "k") {
      step(event.key === "j" ? 1 : -1);
    } else if (arrow && (on === document.body || on.closest("#list"))) {
      step(arrow);
    } else {
      return;
    }
    event.preventDefault();
  }

  // What the address says, as far as the page has it.
  async function apply() {
    const address = AnyMALAddress.read();
    let id = address.id ?? "";
    if (TABS.includes(id) && !places.has(id)) {
      address.tab = id;
      id = "";
    }
    state = { ...DEFAULTS, show: address.show, sort: address.sort, id: "" };
    AnyMALTabs.set(TABS.includes(address.tab) ? address.tab : DEFAULTS.tab);
    const named = (name, usual) => (index.runs.includes(name) ? index.runs.indexOf(name) : usual);
    AnyMALChoices.compare([named(address.run, 0), named(address.against, index.base)], state);
    AnyMALChoices.set(address.group, address.search ?? "");
    document.body.classList.remove("opened");
    open = null;
    await filter({ id, write: false });
  }

  function events() {
    AnyMALChoices.start(index, filter, (pair) => {
      AnyMALChoices.compare(pair, Object.assign(state, AnyMALChoices.read()));
      filter().then(() => open !== null && show(places.get(open)));
    });
    byId("search").addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(typed, 120);
    });
    for (const name of ["clear", "clear-all"]) byId(name).addEventListener("click", cleared);
    byId("list").addEventListener("click", (event) => {
      const link = event.target.closest("a");
      if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      const at = [...byId("list").children].indexOf(link.parentElement);
      show(found[part * PART + at], { chosen: true, focus: true, entry: true });
    });
    byId("before").addEventListener("click", () => turn(part - 1));
    byId("after").addEventListener("click", () => turn(part + 1));
    byId("previous").addEventListener("click", () => step(-1));
    byId("next").addEventListener("click", () => step(1));
    byId("back").addEventListener("click", close);
    document.addEventListener("keydown", pressed);
    for (const name of ["popstate", "hashchange"]) window.addEventListener(name, moved);
  }

  // A link within the page, such as the one that skips to the examples, names a tab and changes nothing else.
  function moved() {
    if (!AnyMALAddress.moved()) return;
    const { id } = AnyMALAddress.read();
    if (TABS.includes(id) && !places.has(id)) AnyMALTabs.set(id);
    else apply();
  }

  async function start() {
    try {
      index = await AnyMALFiles.start();
    } catch (problem) {
      byId("count").textContent = "no examples";
      broken(problem);
      byId("example").replaceChildren();
      return;
    }
    places = new Map(index.ids.map((id, at) => [id, at]));
    AnyMALRows.use(index);
    byId("list").classList.toggle("plain", !index.thumbs);
    AnyMALTabs.start((name, options) => {
      state.tab = name;
      if (name !== "examples") document.body.classList.remove("opened");
      if (options) written(options);
    });
    events();
    await apply();
    document.documentElement.dataset.ready = "true";
  }

  start();
  return { receive: AnyMALFiles.receive };
})();
