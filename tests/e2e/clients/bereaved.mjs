// A client whose session begins at node a, and which asks node b from then on, while somebody kills a.

import assert from "node:assert/strict";
import { LongPoll, Socket } from "phoenix";

const { ROOST_A, ROOST_B } = process.env;
const { fetch } = globalThis;
const asked = [];

globalThis.fetch = (url, options) => {
  const target = asked.length === 0 ? ROOST_A : ROOST_B;
  asked.push(target);
  return fetch(String(url).replace(ROOST_A, target), options);
};

setTimeout(() => assert.fail("it takes too long"), 30_000).unref();
const socket = new Socket(`${ROOST_A}/socket`, { transport: LongPoll, rejoinAfterMs: () => 10 });
socket.connect();
const channel = socket.channel(`room:bereaved-${process.pid}`, { name: "Ada" });
const heard = new Promise((resolve) => channel.on("new_msg", resolve));

channel.join().receive("ok", async ({ node }) => {
  if (node.startsWith("a@")) {
    channel.push("new_msg", { body: "hello" });
    assert.equal((await heard).body, "hello");
    console.log(`joined on ${node}, heard by way of ${asked.at(-1) === ROOST_B ? "b" : "a"}`);
  } else {
    console.log(`joined on ${node}`);
    socket.disconnect(() => process.exit(0));
  }
});
