// @ts-check
/** One import at a time: its id is in the address of the page, so that a reload, or a friend, watches the same one. */

import { connect, find } from "/shared/connection.js";
import { PushError } from "/roost/roost.js";

/** @typedef {{ id: string, rows: number, status: string, done: number, left_out: number, bad: string[], cents: number, elapsed_s: number, reason: string }} Job */

const TITLES = { running: "Importing…", done: "Import finished", cancelled: "Import cancelled", crashed: "Import crashed", lost: "Import lost" };

const job = find("job", HTMLElement);
const news = find("news", HTMLElement);
const rows = find("rows", HTMLInputElement);
const begin = find("begin", HTMLButtonElement);
const hint = find("start-hint", HTMLElement);
const buttons = { cancel: find("cancel", HTMLButtonElement), crash: find("crash", HTMLButtonElement), again: find("again", HTMLButtonElement) };
const number = new Intl.NumberFormat();
const money = new Intl.NumberFormat(undefined, { style: "currency", currency: "EUR" });
const socket = connect();
/** @type {import("/roost/roost.js").Channel | null} */
let channel = null;

/** @param {Job} found */
function show(found) {
  job.hidden = false;
  setStatus(found.status);
  const percent = Math.floor((100 * found.done) / found.rows);
  find("fill", HTMLElement).style.width = `${percent}%`;
  find("bar", HTMLElement).setAttribute("aria-valuenow", String(percent));
  find("job-id", HTMLElement).textContent = found.id;
  find("line", HTMLElement).textContent = `${number.format(found.done)} of ${number.format(found.rows)} rows, ${percent} %`;
  find("imported", HTMLElement).textContent = number.format(found.done - found.left_out);
  find("left-out", HTMLElement).textContent = number.format(found.left_out);
  find("worth", HTMLElement).textContent = money.format(found.cents / 100);
  find("time", HTMLElement).textContent = `${found.elapsed_s.toFixed(1)} s`;
  find("bad", HTMLElement).textContent = found.bad.length ? `Left out, since they have no price: ${found.bad.join(" · ")}${found.left_out > found.bad.length ? " · …" : ""}` : "";
  if (found.status === "crashed") news.textContent = `${found.reason}. Its supervisor has cleaned up after it; everything else goes on.`;
  else if (found.status === "running") news.textContent = "";
  rows.value = String(found.rows);
}

/** @param {string} status */
function setStatus(status) {
  job.dataset.status = status;
  find("job-title", HTMLElement).textContent = TITLES[/** @type {keyof TITLES} */ (status)];
  const running = status === "running";
  buttons.cancel.hidden = buttons.crash.hidden = !running;
  buttons.again.hidden = running;
}

/** @param {string} reason */
function lose(reason) {
  job.hidden = false;
  setStatus("lost");
  news.textContent = `${reason[0].toUpperCase()}${reason.slice(1)}.`;
}

/** The import that the address names, "" for none. */
function idOfAddress() {
  const written = location.hash.slice(1);
  try {
    return decodeURIComponent(written);
  } catch {
    return written;
  }
}

async function watch() {
  const id = idOfAddress();
  channel?.leave();
  channel = null;
  if (!id) return void (job.hidden = true);
  const mine = (channel = socket.channel(`import:${id}`));
  mine.on("joined", (found) => show(found));
  mine.on("progress", (found) => channel === mine && show(found));
  mine.on("down", () => channel === mine && watch()); // a channel of its own, which says it when it is refused
  mine.on("lost", ({ reason }) => channel === mine && lose(reason));
  try {
    await mine.join();
  } catch (error) {
    if (channel !== mine || !(error instanceof PushError) || error.status !== "error") return;
    mine.leave();
    lose(error.message);
  }
}

/** An answer that is an error says so in words. */
async function start() {
  begin.disabled = buttons.again.disabled = true;
  hint.textContent = "";
  try {
    const answer = await fetch(new URL("/imports", socket.endpoint), {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ rows: Number(rows.value) }),
    });
    const found = await answer.json();
    if (answer.ok) location.hash = encodeURIComponent(found.id);
    else hint.textContent = found.error;
  } catch {
    hint.textContent = "The node does not answer. Try again in a moment.";
  } finally {
    begin.disabled = buttons.again.disabled = false;
  }
}

/** @param {"cancel" | "crash"} event */
async function press(event) {
  try {
    await channel?.push(event, {});
  } catch (error) {
    news.textContent = `That did not work: ${error instanceof Error ? error.message : error}.`;
  }
}

find("start", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
buttons.again.addEventListener("click", start);
buttons.cancel.addEventListener("click", () => press("cancel"));
buttons.crash.addEventListener("click", () => press("crash"));
addEventListener("hashchange", watch);
watch();
