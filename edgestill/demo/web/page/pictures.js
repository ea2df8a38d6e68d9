// The live pictures: one stream for all sources; boxes and labels are drawn in the screen's resolution.

const RETRY_MS = 2000;
const LINE = "\r\n";
const decoder = new TextDecoder("latin1");

/**
 * Read pictures until the stream ends.
 *
 * show(about, blob) gets the newest picture of each source; older ones that came meanwhile are skipped.
 */
async function readPictures(signal, show) {
  const answer = await fetch("/pictures", { signal });
  if (!answer.ok) throw new Error(`pictures: ${answer.status}`);
  const reader = answer.body.getReader();
  let rest = new Uint8Array();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const all = new Uint8Array(rest.length + value.length);
    all.set(rest);
    all.set(value, rest.length);
    const { parts, used } = split(all);
    rest = all.subarray(used);
    const newest = new Map(parts.map((part) => [part.about.source, part]));
    await Promise.all([...newest.values()].map(({ about, jpeg }) => show(about, jpeg)));
  }
}

/** The complete parts of a multipart stream, and how many bytes they take. */
function split(bytes) {
  const parts = [];
  let used = 0;
  for (;;) {
    const end = headEnd(bytes, used);
    if (end < 0) break;
    const fields = decoder.decode(bytes.subarray(used, end)).split(LINE).map((line) => line.split(/: (.*)/s));
    const head = Object.fromEntries(fields.filter((field) => field.length > 1));
    const start = end + 4;
    const stop = start + Number(head["Content-Length"]);
    if (stop + 2 > bytes.length) break;
    const jpeg = new Blob([bytes.subarray(start, stop)], { type: "image/jpeg" });
    parts.push({ about: JSON.parse(head["X-Frame"]), jpeg });
    used = stop + 2;
  }
  return { parts, used };
}

function headEnd(bytes, from) {
  for (let i = from; i + 3 < bytes.length; i++) {
    if (bytes[i] === 13 && bytes[i + 1] === 10 && bytes[i + 2] === 13 && bytes[i + 3] === 10) return i;
  }
  return -1;
}

/** Show pictures while the page is visible; the server encodes none for a page that nobody sees. */
export function watchPictures(show) {
  let current = null;
  const start = async () => {
    const own = new AbortController();
    current = own;
    while (!own.signal.aborted) {
      try {
        await readPictures(own.signal, show);
      } catch {
        // The server is gone, or the page is hidden; the status tells of the former.
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  };
  const update = () => {
    if (document.hidden) {
      current?.abort();
      current = null;
    } else if (!current) start();
  };
  document.addEventListener("visibilitychange", update);
  update();
}

/** Draw a picture with its boxes. colourOf(name) gives the colour of a class. */
export async function drawPicture(canvas, about, jpeg, colourOf) {
  const image = await createImageBitmap(jpeg);
  const ratio = window.devicePixelRatio || 1;
  const width = Math.max(1, Math.round((canvas.clientWidth || about.width) * ratio));
  const height = Math.max(1, Math.round((width * about.height) / about.width));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const pen = canvas.getContext("2d");
  pen.drawImage(image, 0, 0, width, height);
  image.close();
  canvas.dataset.frame = about.frame;
  drawBoxes(pen, about, width / about.width, ratio, colourOf);
}

function drawBoxes(pen, about, scale, ratio, colourOf) {
  const boxes = about.boxes.map((one) => ({ ...one, rect: outline(one.box, scale, ratio) }));
  for (const { rect, name, sure } of boxes) {
    pen.setLineDash(sure ? [] : [4 * ratio, 3 * ratio]);
    for (const [colour, width] of [["#000a", 4], [colourOf(name), 2]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = width * ratio;
      pen.strokeRect(...rect);
    }
  }
  pen.setLineDash([]);
  const taken = boxes.map(({ rect }) => rect);
  for (const one of boxes) taken.push(drawLabel(pen, one, taken, ratio, colourOf(one.name)));
}

/** A rectangle x, y, w, h around a box, outside it, so that a small light stays visible. */
function outline([x0, y0, x1, y1], scale, ratio) {
  const out = 2 * ratio;
  return [x0 * scale - out, y0 * scale - out, (x1 - x0) * scale + 2 * out, (y1 - y0) * scale + 2 * out];
}

/** The text beside a box. */
export function labelOf({ id, name, sure, score }) {
  return `${id === null ? "" : `#${id} `}${name}${sure ? "" : "?"} ${score.toFixed(2)}`;
}

function drawLabel(pen, one, taken, ratio, colour) {
  const size = 12 * ratio;
  pen.font = `600 ${size}px system-ui, sans-serif`;
  const text = labelOf(one);
  const width = pen.measureText(text).width + 12 * ratio;
  const height = size + 6 * ratio;
  const place = freePlace(one.rect, width, height, taken, pen.canvas, 2 * ratio);
  pen.fillStyle = "#0c1116cc";
  pen.fillRect(...place);
  pen.fillStyle = colour;
  pen.fillRect(place[0], place[1], 3 * ratio, height);
  pen.fillStyle = "#fff";
  pen.textBaseline = "middle";
  pen.fillText(text, place[0] + 7 * ratio, place[1] + height / 2 + 0.5 * ratio);
  return place;
}

/** The place beside a box that covers least of other boxes and labels; if equal, the nearest. */
function freePlace([x, y, w, h], width, height, taken, canvas, gap) {
  const corners = [
    [x, y - height - gap],
    [x, y + h + gap],
    [x + w + gap, y],
    [x - width - gap, y],
    [x + w - width, y - height - gap],
    [x + w - width, y + h + gap],
    [x, y - 2 * (height + gap)],
    [x, y + h + height + 2 * gap],
  ];
  const places = corners.map(([left, top]) => [
    Math.min(Math.max(left, 0), Math.max(canvas.width - width, 0)),
    Math.min(Math.max(top, 0), Math.max(canvas.height - height, 0)),
    width,
    height,
  ]);
  const cost = (place) => taken.reduce((sum, other) => sum + shared(place, other), 0);
  return places.reduce((best, one) => (cost(best) <= cost(one) ? best : one));
}

function shared([x, y, w, h], [u, v, a, b]) {
  return Math.max(Math.min(x + w, u + a) - Math.max(x, u), 0) * Math.max(Math.min(y + h, v + b) - Math.max(y, v), 0);
}
