/** Says what is wrong, the gravest first. */

import { states, wrong } from './words.js';

/** @param {any} told the answer of /v1/ops @returns {string[]} */
export function troubles(told) {
  return [...readers(told), ...workers(told), ...told.partitions.flatMap(partition), ...told.topics_differ, ...rejects(told.recent)];
}

/** @param {any} told */
function readers(told) {
  if (!told.partitions_expected) return [wrong.empty];
  if (told.state === null) return [wrong.positions(told.partitions_found, told.partitions_expected)];
  return told.state === 'live' ? [] : [wrong.state(states[told.state])];
}

/** @param {any} told */
function workers(told) {
  const evicts = told.redis_policy?.startsWith('allkeys') ? [wrong.policy(told.redis_policy)] : [];
  if (!told.workers.length) return [...evicts, wrong.noWorker];
  return [...evicts, ...told.workers.filter((one) => one.reason).map((one) => wrong.worker(one.worker, one.reason))];
}

/** @param {any} recent */
const rejects = (recent) => (recent.too_many ? [wrong.rejected(recent.rejected, recent.events)] : []);

/** @param {any} of */
export function partition(of) {
  if (of.owner === null) return [wrong.unowned(of.partition)];
  if (of.failure) return [wrong.failure(of.partition, of.failure)];
  return of.phase === 'counting' ? [] : [wrong.phase(of.partition, of.phase)];
}
