"use strict";
// Text that somebody else wrote, as text: never parsed as HTML, and with what would be invisible made visible.
const AnyMALText = (() => {
  // The characters of anymal_eval/visible.py: control characters (not tab and line feed), marks that turn the direction of
  // text, what has no width, halves of surrogate pairs. But for joiners, which a browser needs for emoji and many scripts.
  const HIDDEN = /(?![\t\n\u200c\u200d])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0e\uffa0\u{e0000}-\u{e0fff}]/gu;

  const LONG = 1200; // characters; a longer text scrolls in a box of its own

  function name(mark) {
    const code = mark.codePointAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    return "U+" + code.toString(16).toUpperCase().padStart(4, "0");
  }

  // Appends text to an element; hidden characters become small boxes that bear their name.
  function append(element, text) {
    let from = 0;
    for (const found of text.matchAll(HIDDEN)) {
      if (found.index > from) element.append(text.slice(from, found.index));
      const mark = document.createElement("span");
      mark.className = "mark";
      mark.textContent = name(found[0]);
      element.append(mark);
      from = found.index + found[0].length;
    }
    element.append(text.slice(from));
    return element;
  }

  // An element with a class and children; strings among the children are text as above.
  function make(tag, classes, ...children) {
    const element = document.createElement(tag);
    if (classes) element.className = classes;
    for (const child of children) {
      if (child === null || child === undefined) continue;
      if (typeof child === "string") append(element, child);
      else element.append(child);
    }
    return element;
  }

  // Somebody's words: their direction is their own and stays inside.
  function isolated(tag, classes, text) {
    const element = make(tag, classes, text);
    element.dir = "auto";
    return element;
  }

  // A text in a box; what is long scrolls in it. ``spans`` are marked: { start, end, classes }, in order.
  function block(content, label, spans = []) {
    const box = make("pre", "words");
    box.dir = "auto";
    let at = 0;
    for (const span of spans) {
      append(box, content.slice(at, span.start));
      box.append(make("span", span.classes, content.slice(span.start, span.end)));
      at = span.end;
    }
    append(box, content.slice(at));
    if (content.length > LONG || content.split("\n").length > 24) {
      box.classList.add("long");
      box.tabIndex = 0;
      box.setAttribute("role", "region");
      box.setAttribute("aria-label", label + ", " + content.length.toLocaleString("en") + " characters");
    }
    return box;
  }

  function number(value) {
    return value === null || value === undefined ? "" : (100 * value).toFixed(1);
  }

  return { append, block, make, isolated, number };
})();
