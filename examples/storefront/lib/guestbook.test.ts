import assert from "node:assert/strict";
import { test } from "node:test";
import { entries, sign } from "./guestbook.ts";

test("the latest name comes first", () => {
  sign("Ada");
  sign("Grace");
  assert.deepEqual(entries().slice(0, 2), ["Grace", "Ada"]);
});

test("what is no name is not added", () => {
  const before = entries();
  assert.equal(sign("  \n"), undefined);
  assert.equal(sign(null), undefined);
  assert.deepEqual(entries(), before);
});

test("a name is one line of 40 characters at most", () => {
  assert.equal(sign(" Ada\n  Lovelace "), "Ada Lovelace");
  assert.equal(sign("x".repeat(1000))?.length, 40);
});
