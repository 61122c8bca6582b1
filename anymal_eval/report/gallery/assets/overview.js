"use strict";
// The matrix of tasks and runs: a cell under the pointer or with the focus shows its numbers; arrows go from cell to cell.
(() => {
  const cells = [...document.querySelectorAll(".matrix tbody tr")].map((row) => [...row.querySelectorAll(".cell-link")]);
  let shown = null;

  function hide() {
    shown?.classList.remove("shown");
    shown = null;
  }

  function show(link) {
    hide();
    shown = document.getElementById(link.getAttribute("aria-describedby"));
    shown.classList.add("shown");
    const edges = link.getBoundingClientRect();
    const left = Math.min(edges.left, document.documentElement.clientWidth - shown.offsetWidth - 8);
    const below = edges.bottom + 6;
    const fits = below + shown.offsetHeight < window.innerHeight;
    shown.style.left = `${Math.max(8, left)}px`;
    shown.style.top = `${fits ? below : Math.max(8, edges.top - shown.offsetHeight - 6)}px`;
  }

  const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

  cells.forEach((row, at) =>
    row.forEach((link, place) => {
      link.addEventListener("pointerenter", (event) => event.pointerType === "touch" || show(link));
      link.addEventListener("pointerleave", hide);
      link.addEventListener("focus", () => show(link));
      link.addEventListener("blur", hide);
      link.addEventListener("keydown", (event) => {
        const move = MOVES[event.key];
        if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
        const to = cells[at + move[0]]?.[place + move[1]];
        if (!to) return;
        event.preventDefault();
        to.focus();
      });
    }),
  );
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  window.addEventListener("scroll", hide, { passive: true, capture: true });
})();
