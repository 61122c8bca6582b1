"use strict";
// Links to the parts of a page become tabs; without scripts they lead down the page. A menu closes when one leaves it.
const AnyMALTabs = (() => {
  const all = () => [...document.querySelectorAll("#tabs [data-tab]")];
  let told = () => {};

  function set(name, options) {
    document.documentElement.dataset.tab = name;
    for (const each of all()) {
      const chosen = each.dataset.tab === name;
      each.setAttribute("aria-selected", String(chosen));
      each.tabIndex = chosen ? 0 : -1;
    }
    told(name, options);
  }

  function start(changed) {
    told = changed;
    all()[0].parentElement.setAttribute("role", "tablist");
    for (const each of all()) {
      each.setAttribute("role", "tab");
      each.setAttribute("aria-controls", each.dataset.tab);
      document.getElementById(each.dataset.tab).setAttribute("role", "tabpanel");
      each.addEventListener("click", (event) => {
        event.preventDefault();
        set(each.dataset.tab, { entry: true });
      });
      each.addEventListener("keydown", (event) => {
        const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!by) return;
        const next = all()[(all().indexOf(each) + by + all().length) % all().length];
        set(next.dataset.tab, {});
        next.focus();
      });
    }
  }

  function menus() {
    const opened = () => document.querySelectorAll("details.menu[open]");
    document.addEventListener("click", (event) => {
      for (const menu of opened()) if (!menu.contains(event.target)) menu.open = false;
    });
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      for (const menu of opened()) {
        menu.open = false;
        menu.querySelector("summary").focus();
        event.stopImmediatePropagation();
      }
    });
  }

  menus();
  return { start, set };
})();
