// The way of the 2024 guide with the official Node SDK, which reads key and address from the
// environment: upload a file, make a job of it, follow it, talk to what it made.
// Then it lends the model to another project and takes it back.
// Usage: node guide.mjs FILE PROJECT_ID; prints one JSON object with what was seen on the way.

import fs from 'node:fs';
import OpenAI, { toFile } from 'openai';

const [path, projectId] = process.argv.slice(2);
const openai = new OpenAI();
const ended = ['succeeded', 'failed', 'cancelled'];

const fromDisk = await openai.files.create({
  file: fs.createReadStream(path),
  purpose: 'fine-tune',
});
const fromMemory = await openai.files.create({
  file: await toFile(fs.readFileSync(path), 'input.jsonl'),
  purpose: 'fine-tune',
});

let job = await openai.fineTuning.jobs.create({
  training_file: fromDisk.id,
  model: 'gpt-4o-mini-2024-07-18',
  suffix: 'custom_suffix',
  hyperparameters: { n_epochs: 1 },
});
while (!ended.includes(job.status)) {
  await new Promise((resolve) => setTimeout(resolve, 200));
  job = await openai.fineTuning.jobs.retrieve(job.id);
}

const events = [];
for await (const event of openai.fineTuning.jobs.listEvents(job.id, { limit: 7 })) {
  events.push(event.message);
}
const jobs = [];
for await (const one of openai.fineTuning.jobs.list({ limit: 2 })) {
  jobs.push(one.id);
}
const checkpoints = [];
for await (const checkpoint of openai.fineTuning.jobs.checkpoints.list(job.id)) {
  checkpoints.push(checkpoint.fine_tuned_model_checkpoint);
}

const request = {
  model: job.fine_tuned_model,
  messages: [
    { role: 'system', content: 'You are a helpful assistant.' },
    { role: 'user', content: 'Write a haiku about recursion in programming.' },
  ],
  max_tokens: 20,
  seed: 1,
};
const completion = await openai.chat.completions.create(request);
let streamed = '';
for await (const chunk of await openai.chat.completions.create({ ...request, stream: true })) {
  streamed += chunk.choices[0]?.delta?.content ?? '';
}

const permissions = openai.fineTuning.checkpoints.permissions;
const granted = [];
for await (const permission of permissions.create(job.fine_tuned_model, {
  project_ids: [projectId],
})) {
  granted.push(permission);
}
const listed = [];
for await (const permission of permissions.list(job.fine_tuned_model, { limit: 1 })) {
  listed.push(permission);
}
const withdrawn = await permissions.delete(granted[0].id, {
  fine_tuned_model_checkpoint: job.fine_tuned_model,
});

let refusal = null;
try {
  await openai.fineTuning.jobs.cancel(job.id);
} catch (error) {
  refusal = { kind: error.constructor.name, status: error.status, message: error.message };
}
const deleted = await openai.files.delete(fromMemory.id);

console.log(
  JSON.stringify({
    files: [fromDisk, fromMemory],
    job,
    events,
    jobs,
    checkpoints,
    message: completion.choices[0].message,
    streamed,
    granted,
    listed,
    withdrawn,
    refusal,
    deleted,
  }),
);
