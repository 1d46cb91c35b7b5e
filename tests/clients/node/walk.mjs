// Makes calls of the official Node SDK, and prints what came back for each, as it was on the wire.
// Usage: node walk.mjs CALLS; CALLS is a file with a list of
// {"call": "files.create", "arguments": [...], "file": "the argument that is a file, if any"}.

import fs from 'node:fs';
import OpenAI, { toFile } from 'openai';

let last = null;

async function fetchAndKeep(url, init) {
  const response = await fetch(url, init);
  const body = await response.clone().text(); // streams too, to their end
  last = {
    method: init.method.toUpperCase(),
    path: new URL(url).pathname,
    status: response.status,
    headers: Object.fromEntries(response.headers),
    body,
  };
  return response;
}

const openai = new OpenAI({ fetch: fetchAndKeep, maxRetries: 0 });
const seen = [];

for (const { call, arguments: given, file } of JSON.parse(fs.readFileSync(process.argv[2]))) {
  const names = call.split('.');
  const method = names.pop();
  const resource = names.reduce((above, name) => above[name], openai);
  const options = given.at(-1);
  if (file !== null) {
    options[file] = await toFile(Buffer.from(options[file]), 'a.jsonl');
  }
  let failure = null;
  try {
    const answer = await resource[method](...given);
    if (options?.stream) {
      for await (const _ of answer); // the SDK reads each piece
    }
  } catch (error) {
    failure = error.constructor.name;
  }
  seen.push({ call, failure, ...last });
}

console.log(JSON.stringify(seen));
