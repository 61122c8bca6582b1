"use strict";
// Text that somebody else wrote, as text: never parsed as HTML, and with what would be invisible made visible.
const AnyMALText = (() => {
  // Control characters (not tab and line feed), marks that turn the direction of text, and halves of surrogate pairs.
  const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060\u2066-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

  function name(mark) {
    const code = mark.charCodeAt(0);
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
  function said(tag, classes, text) {
    const element = make(tag, classes, text);
    element.dir = "auto";
    return element;
  }

  function number(value) {
    return value === null || value === undefined ? "" : (100 * value).toFixed(1);
  }

  return { make, said, number };
})();
