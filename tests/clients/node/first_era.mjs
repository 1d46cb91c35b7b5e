// The first era's way with its own Node SDK (openai 3): upload, tune, follow, ask, clear away.
// Usage: node first_era.mjs FILE; prints one JSON object with what was seen on the way.

import fs from 'node:fs';
import { Configuration, OpenAIApi } from 'openai';

const [path] = process.argv.slice(2);
const openai = new OpenAIApi(
  new Configuration({
    apiKey: process.env.OPENAI_API_KEY,
    basePath: process.env.OPENAI_BASE_URL,
  }),
);

const file = (await openai.createFile(fs.createReadStream(path), 'fine-tune')).data;
const request = { training_file: file.id, model: 'ada', n_epochs: 2, suffix: 'sky' };
const { id } = (await openai.createFineTune(request)).data;

let streamed = ''; // this SDK leaves reading the events to its user
const stream = await openai.listFineTuneEvents(id, true, { responseType: 'stream' });
for await (const chunk of stream.data) {
  streamed += chunk;
}

const ended = (await openai.retrieveFineTune(id)).data;
const listed = (await openai.listFineTunes()).data;
const events = (await openai.listFineTuneEvents(id)).data;
const results = (await openai.downloadFile(ended.result_files[0].id)).data;
const completion = await openai.createCompletion({
  model: ended.fine_tuned_model,
  prompt: 'Colour of sky 1 ->',
  max_tokens: 1,
  temperature: 0,
  logprobs: 2,
});

let refusal = null;
try {
  await openai.cancelFineTune(id);
} catch (error) {
  refusal = { status: error.response.status, error: error.response.data.error };
}
const deleted = (await openai.deleteModel(ended.fine_tuned_model)).data;

console.log(
  JSON.stringify({
    file,
    streamed,
    ended,
    listed,
    events,
    results,
    completion: completion.data,
    refusal,
    deleted,
  }),
);
