"use strict";
// What a task's page offers to choose: what to show with its counts, groups, orders, and the runs to compare.
const AnyMALChoices = (() => {
  const { make } = AnyMALText;
  const SHORT = { fell: "Worse", rose: "Better", wrong: "Wrong", error: "Errors" };
  const USUAL = { show: "all", group: "", search: "" };
  const byId = (name) => document.getElementById(name);
  let index = null;
  let chosen = () => {};
  const known = new Map(); // a group by the words of its choice: { of, value }

  function fill(name, options, value) {
    byId(name).replaceChildren(...options.map(([key, words]) => {
      const option = make("option", "", words);
      option.value = key;
      return option;
    }));
    byId(name).value = options.some(([key]) => key === value) ? value : options[0][0];
  }

  // Filled anew: what they count depends on the run that is compared with.
  function counts(show, sort) {
    const every = [...index.ids.keys()];
    const counted = AnyMALRows.kinds().map(([key, words, fits]) => [key, words, every.filter(fits).length]);
    fill("show", counted.map(([key, words, count]) => [key, `${words} (${count.toLocaleString("en")})`]), show);
    fill("sort", AnyMALRows.orders(), sort);
    const quick = counted.filter(([key, , count]) => key in SHORT && (key === "error" ? count : key !== "wrong" || !AnyMALRows.compared()));
    byId("quick").replaceChildren(...quick.map(([key, words, count]) => {
      const button = make("button", "", SHORT[key], make("b", "", count.toLocaleString("en")));
      Object.assign(button, { type: "button", value: key, title: words });
      button.addEventListener("click", () => {
        byId("show").value = byId("show").value === key ? USUAL.show : key;
        chosen();
      });
      return button;
    }));
  }

  function groups() {
    const options = [["", "all"]];
    for (const [name, { values, of }] of Object.entries(index.groups)) {
      const counts = new Array(values.length).fill(0);
      for (const value of of) if (value >= 0) counts[value] += 1;
      values.forEach((value, at) => {
        known.set(`${name}: ${value}`, { of, value: at });
        options.push([`${name}: ${value}`, `${name.replaceAll("_", " ")}: ${value} (${counts[at].toLocaleString("en")})`]);
      });
    }
    fill("group", options, "");
    byId("group").parentElement.hidden = options.length === 1;
  }

  // Two runs of the report: what is shown of one is compared with the other.
  function compare(pair, { show, sort }) {
    AnyMALRows.pair(pair);
    if (byId("run")) [byId("run").value, byId("base").value] = pair.map(String);
    counts(show, sort);
  }

  function read() {
    return { show: byId("show").value, group: byId("group").value, sort: byId("sort").value, search: byId("search").value.trim() };
  }

  // Which examples fit, and their order, in the words of the page.
  function rules({ show, group, sort }) {
    const own = known.get(group);
    const wanted = AnyMALRows.kinds().find(([key]) => key === show)[2];
    return {
      fits: (at) => wanted(at) && (!own || own.of[at] === own.value),
      order: AnyMALRows.orders().find(([key]) => key === sort)[2],
    };
  }

  // Marks what is set, and offers the way out.
  function marks({ show, group, search }, none) {
    const set = show !== USUAL.show || group || search;
    byId("clear").hidden = !set;
    byId("nothing").hidden = !none;
    for (const name of ["show", "group"]) byId(name).classList.toggle("set", byId(name).value !== USUAL[name]);
    for (const button of byId("quick").children) button.setAttribute("aria-pressed", String(button.value === show));
    byId("more").textContent = set ? "Filters (set)" : "Filters";
  }

  function clear() {
    for (const [name, usual] of Object.entries(USUAL)) byId(name).value = usual;
  }

  function set(group, search) {
    byId("group").value = known.has(group) ? group : "";
    byId("search").value = search;
  }

  function start(received, changed, compared) {
    index = received;
    chosen = changed;
    groups();
    for (const name of ["show", "group", "sort"]) byId(name).addEventListener("change", () => changed());
    for (const name of ["run", "base"]) {
      byId(name)?.addEventListener("change", () => compared([Number(byId("run").value), Number(byId("base").value)]));
    }
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    byId("more").addEventListener("click", () => {
      const all = byId("filters").classList.toggle("all");
      byId("more").setAttribute("aria-expanded", String(all));
    });
  }

  return { start, compare, read, rules, marks, clear, set };
})();
