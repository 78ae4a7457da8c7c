// The contract's transcript in JavaScript: calls every function of the host, meets its errors, and writes down what came
// back. Its siblings in other languages say the same, word for word.

import * as read from 'tenure:plugin/kubernetes-read@0.1.0';
import * as write from 'tenure:plugin/kubernetes-write@0.1.0';
import * as leadership from 'tenure:plugin/leadership@0.1.0';
import * as settings from 'tenure:plugin/settings@0.1.0';
import * as log from 'tenure:plugin/log@0.1.0';

const CONFIG_MAP = { apiVersion: 'v1', kind: 'ConfigMap' };
const CACHED = { live: false, metadataOnly: false, extra: [] };
const LIVE = { ...CACHED, live: true };
const PLAIN = { dryRun: false, extra: [] };
const DELETE = { dryRun: false, extra: [] };
const DONE = { extra: [] };
// More than the host takes in one call.
const TOO_MANY_BYTES = 4 << 20;

export function reconcile(request) {
  const { cause, object: own } = request;
  if (cause.tag === 'scheduled') {
    log.emit('info', 'scheduled', request.extra.filter(([key]) => key === 'due'));
    return { requeueAfterMs: 2 ** 40, extra: [] };
  }
  const does = JSON.parse(request.body ?? '{}').data?.does;
  if (cause.tag === 'deleted') {
    tell(own, [`deleted ${does}`]);
  } else if (does === 'transcript') {
    tell(own, transcript(request));
  } else if (cause.tag === 'retried' && (does === 'fail' || does === 'again')) {
    tell(own, [`retried ${cause.val}`]);
  } else if (does === 'fail') {
    throw { reason: 'GuestError', message: 'told to', retryAfterMs: 1 };
  } else if (does === 'again') {
    return { requeueAfterMs: 1, extra: [] };
  } else if (does === 'wait') {
    tell(own, ['waiting']);
    while (!leadership.wait(60_000));
    tell(own, [`cancelled ${leadership.cancelled()}`]);
  } else if (does === 'meet') {
    read.get(own, LIVE);
  }
  return DONE;
}

function transcript(request) {
  log.emit('warn', 'called', [['language', 'javascript'], ['text', 'ä→😀']]);
  return [
    `cause ${request.cause.tag}`,
    `settings ${JSON.parse(settings.get()).greeting}`,
    `term ${leadership.term()}`,
    `cancelled ${leadership.cancelled()}`,
    `wait ${leadership.wait(1)}`,
    `clock ${clockGoes()}`,
    `random ${Math.random() !== Math.random()}`,
    ...reads(request.object),
    ...writes(request.object),
  ];
}

function reads(own) {
  const { namespace, name } = own;
  const get = (object, options) => came(() => read.get({ namespace, kind: CONFIG_MAP, ...object }, options));
  const metadata = JSON.parse(read.get(own, { ...LIVE, metadataOnly: true }));
  const ofKind = (kind) => ({ kind: { apiVersion: 'v1', kind }, name: 'any' });
  const parts = `part-of=${namespace}.${name}`;
  return [
    `get ${JSON.parse(read.get(own, CACHED)).metadata.name === name}`,
    `get metadata ${typeof metadata.metadata.uid === 'string' && metadata.data === undefined}`,
    `get missing ${get({ name: 'missing' }, LIVE)}`,
    `get not granted ${get(ofKind('Secret'), CACHED)}`,
    `get subresource ${get({ name }, { ...CACHED, subresource: 'status' })}`,
    `get unknown kind ${get(ofKind('Nonsense'), CACHED)}`,
    `list cached ${listed({ namespace, labelSelector: parts })}`,
    `list live ${listed({ namespace, labelSelector: parts, live: true, metadataOnly: true })}`,
    `list by field ${listed({ namespace, fieldSelector: `metadata.name=${name}-part-1` })}`,
    `list everywhere ${listed({ labelSelector: parts })}`,
  ];
}

function writes(own) {
  const { namespace } = own;
  const named = (name) => ({ kind: CONFIG_MAP, namespace, name });
  const made = named(`${own.name}-made`);
  const part = named(`${own.name}-part-0`);
  const create = (body, options = PLAIN) => came(() => write.create(made, JSON.stringify(body), options));
  const apply = (object, body, force) => came(() => write.apply(object, JSON.stringify(body), force, PLAIN));
  const patch = (type, body) => came(() => write.patch(made, type, JSON.stringify(body), PLAIN));
  const remove = (object, options) => came(() => write.delete(object, { ...DELETE, ...options }));

  const lines = [
    `create dry ${create({}, { ...PLAIN, dryRun: true })}`,
    `create strict ${create({ nonsense: 1 }, { ...PLAIN, fieldValidation: 'Strict' })}`,
  ];
  const stored = JSON.parse(write.create(made, JSON.stringify({ data: { a: 'ä→😀' } }), PLAIN));
  const { uid, resourceVersion } = stored.metadata;
  lines.push(`create ${stored.data.a === 'ä→😀'}`, `create again ${create({})}`);

  const generated = JSON.parse(write.create(named(`${made.name}-`), '{}', PLAIN)).metadata;
  const whole = {
    uid: generated.uid,
    resourceVersion: generated.resourceVersion,
    propagation: 'background',
    gracePeriodSeconds: 0,
  };
  const isGenerated = generated.name.startsWith(`${made.name}-`) && generated.name !== `${made.name}-`;
  lines.push(`generated ${isGenerated}`, `delete ${remove(named(generated.name), whole)}`);

  const replacement = JSON.stringify({ metadata: { resourceVersion }, data: { a: '2' } });
  const replace = () => came(() => write.replace(made, replacement, PLAIN));
  const removal = [{ op: 'remove', path: '/data/b' }];
  const ours = { data: { value: 'ours' } };
  lines.push(
    `replace ${replace()}`,
    `replace stale ${replace()}`,
    `patch merge ${patch('merge', { data: { b: '3' } })}`,
    `patch json ${patch('json', removal)}`,
    `patch json again ${patch('json', removal)}`,
    `apply ${apply(part, ours, false)}`,
    `apply forced ${apply(part, ours, true)}`,
    `apply other name ${apply(named('missing'), { metadata: { name: 'other' } }, true)}`,
    `too large ${create({ data: { a: 'x'.repeat(TOO_MANY_BYTES) } })}`,
    `event ${came(() => write.recordEvent(own, 'warning', 'Called', 'in javascript: ä→😀'))}`,
    `delete changed ${remove(made, { uid, resourceVersion })}`,
    `delete ${remove(made)}`,
    `delete again ${remove(made)}`,
  );
  return lines;
}

// How many objects there are, page by page.
function listed(options) {
  let count = 0;
  let continueToken;
  do {
    const page = read.list(CONFIG_MAP, { ...CACHED, limit: 2, ...options, continueToken });
    count += page.items.length;
    continueToken = page.continueToken;
  } while (continueToken);
  return count;
}

// What a call came to: `ok`, or the error's reason, with the code in the API server's Status where it has one.
function came(call) {
  try {
    call();
    return 'ok';
  } catch (thrown) {
    const { reason, status } = thrown.payload;
    return `${reason} ${status ? JSON.parse(status).code : '-'}`;
  }
}

// Writes the lines where the test reads them.
function tell(own, lines) {
  const target = { kind: CONFIG_MAP, namespace: own.namespace, name: `${own.name}-told` };
  write.apply(target, JSON.stringify({ data: { lines: lines.join('\n') } }), false, PLAIN);
}

// The only clock there is: it knows the year, and does not go back meanwhile.
function clockGoes() {
  const before = Date.now();
  return before > Date.UTC(2020) && Date.now() >= before;
}
