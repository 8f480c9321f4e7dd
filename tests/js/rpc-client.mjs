/** node tests/js/rpc-client.mjs URL TOKEN: uses static/rpc.js with the real door; prints one line of JSON with what it got. */

import { Rpc, weerpc } from "../../static/rpc.js";

const [url, token] = process.argv.slice(2);
const rpc = new Rpc(`${url}/rpc`, { token });
const script = { command: "/bin/sh", args: ["-c", "read line; echo $line; exit 4"], tty: false };

const { session } = await rpc.call("start", script);
const [write, wait, output] = await rpc.batch([
  ["write", { session, text: "hi\n" }],
  ["wait", { session }],
  ["output", { session }],
]);
await rpc.notify("list", []);
const listed = await rpc.request("list");
const refused = await new Rpc(`${url}/rpc`, { token: "forged" }).call("start", script).catch(({ message, code }) => ({ message, code }));
const nobody = await new Rpc(`${url}/rpc`).call("list").catch(({ code, status }) => ({ code, status }));
const older = await fetch(`${url}/rpc/1.0`, {
  method: "POST",
  headers: { "Content-Type": "application/json", Authorization: `Bearer ${token}` },
  body: weerpc("list", undefined, 1.0),
});
console.log(
  JSON.stringify({
    written: write.result.written,
    exitCode: wait.result.exit_code,
    output: atob(output.result.chunks.map(({ base64 }) => base64).join("")),
    sessions: listed.sessions.length,
    refused,
    nobody,
    older: await older.json(),
  }),
);
