"use strict";
// The words of two texts compared. Words are what white space separates, in lower case and without punctuation; the
// distance of two texts is the fewest words to add, remove or replace (Levenshtein).
const AnyMALWords = (() => {
  const MOST = 4_000_000; // pairs of words; longer texts are not compared

  // The words that are compared, with their place in the text; what is punctuation alone is none.
  function words(text) {
    const found = [];
    for (const each of text.matchAll(/\S+/gu)) {
      const key = each[0].normalize("NFKC").toLowerCase().replace(/[^\p{L}\p{M}\p{N}\p{S}]+/gu, "");
      if (key) found.push({ key, start: each.index, end: each.index + each[0].length });
    }
    return found;
  }

  // The steps from one list of words to another: [place or -1, place or -1], both where the words are equal.
  function steps(from, to) {
    const width = to.length + 1;
    if (from.length * to.length > MOST) return null;
    const cost = new Uint32Array((from.length + 1) * width);
    for (let b = 0; b < width; b++) cost[b] = b;
    for (let a = 1; a <= from.length; a++) {
      cost[a * width] = a;
      for (let b = 1; b < width; b++) {
        const at = a * width + b;
        const replaced = cost[at - width - 1] + (from[a - 1].key === to[b - 1].key ? 0 : 1);
        cost[at] = Math.min(replaced, cost[at - width] + 1, cost[at - 1] + 1);
      }
    }
    const found = [];
    let [a, b] = [from.length, to.length];
    while (a || b) {
      const here = cost[a * width + b];
      const equal = a && b && from[a - 1].key === to[b - 1].key;
      if (equal && here === cost[(a - 1) * width + b - 1]) found.push([--a, --b]);
      else if (a && b && here === cost[(a - 1) * width + b - 1] + 1) found.push([-1, --b], [--a, -1]);
      else if (b && here === cost[a * width + b - 1] + 1) found.push([-1, --b]);
      else found.push([--a, -1]);
    }
    return { steps: found.reverse(), edits: cost[cost.length - 1] };
  }

  // What two texts have in common: their words, each with whether the other has it, and the edits between them.
  function compare(one, other) {
    const [from, to] = [words(one), words(other)];
    const found = steps(from, to);
    if (found === null) return null;
    for (const [a, b] of found.steps) if (a >= 0 && b >= 0) from[a].kept = to[b].kept = true;
    return { from, to, ...found };
  }

  // The reference with the fewest edits, of equal ones the first; null where the texts are too long.
  function nearest(text, references) {
    let best = null;
    references.forEach((reference, place) => {
      const found = compare(text, reference);
      if (found && (best === null || found.edits < best.edits)) best = { ...found, place, text: reference };
    });
    return best;
  }

  return { words, compare, nearest };
})();
