// BullMQ, with the line protocol of adapter.py and the tasks of tally.py. Run by node; BENCH_HOME holds node_modules.
import fs from 'node:fs';
import { createRequire } from 'node:module';

const { Queue, Worker } = createRequire(`${process.env.BENCH_HOME}/package.json`)('bullmq');
const url = new URL(process.env.BENCH_URL);
const connection = { host: url.hostname, port: Number(url.port), maxRetriesPerRequest: null };
const concurrency = Number(process.env.BENCH_CONCURRENCY ?? 100);
const target = Number(process.env.BENCH_TARGET ?? 0);
const BULK = 500, WAIT_MS = 50, NAP_MS = 300, TRIES = 5;

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const files = {};
const append = (variable, line) => fs.writeSync((files[variable] ??= fs.openSync(process.env[variable], 'a')), line);
let starts = 0, ends = 0;
const start = () => { if (++starts === 1) append('BENCH_SIGNALS', 'first\n'); };
const end = () => { if (++ends === target) append('BENCH_SIGNALS', 'last\n'); return 1; };

const tasks = {
  async noop() { start(); return end(); },
  async wait() { start(); await sleep(WAIT_MS); return end(); },
  async stamp(payload) { append('BENCH_LEDGER', `${payload} ${process.hrtime.bigint()}\n`); return 1; },
  async nap(payload) {
    append('BENCH_LEDGER', `start ${payload} ${process.pid}\n`);
    await sleep(NAP_MS);
    append('BENCH_LEDGER', `end ${payload} ${process.pid}\n`);
    return 1;
  },
};

const payloadOf = (task, number) =>
  task === 'stamp' ? String(process.hrtime.bigint()) : task === 'nap' ? String(number) : 'x'.repeat(100);

async function produce({ task = 'noop', count = '1', rate = '0', bulk = false }) {
  const queue = new Queue('bench', { connection, defaultJobOptions: { attempts: TRIES } });
  await queue.waitUntilReady();
  const total = Number(count), pace = Number(rate), began = performance.now(), cpu = process.cpuUsage();
  for (let number = 0; number < total; number += bulk ? BULK : 1) {
    if (pace) await sleep(Math.max(0, began + (number * 1000) / pace - performance.now()));
    if (!bulk) { await queue.add(task, payloadOf(task, number)); continue; }
    const size = Math.min(BULK, total - number);
    await queue.addBulk(Array.from({ length: size }, (_, i) => ({ name: task, data: payloadOf(task, number + i) })));
  }
  const seconds = (performance.now() - began) / 1000, used = process.cpuUsage(cpu);
  console.log(JSON.stringify({ count: total, seconds, cpu_s: (used.user + used.system) / 1e6 }));
  await queue.close();
}

const [role, ...rest] = process.argv.slice(2);
if (role === 'worker') {
  new Worker('bench', (job) => tasks[job.name](job.data), { connection, concurrency });
} else {
  const options = {};
  for (let i = 0; i < rest.length; i++) options[rest[i].slice(2)] = rest[i] === '--bulk' ? true : rest[++i];
  await produce(options);
}
