"""The contract's transcript in Python: calls every function of the host, meets its errors, and writes down what came back.

Its siblings in other languages say the same, word for word.
"""

import json
import random
import time

from componentize_py_types import Err
from wit_world import WitWorld as Contract
from wit_world.imports import kubernetes_read as read
from wit_world.imports import kubernetes_write as write
from wit_world.imports import leadership, log, settings
from wit_world.imports.kubernetes_read import GetOptions, ListOptions
from wit_world.imports.kubernetes_write import DeleteOptions, EventType, PatchType, Propagation, WriteOptions
from wit_world.imports.reconcile_types import Cause_Deleted, Cause_Retried, Cause_Scheduled, Outcome, Request
from wit_world.imports.types import Error, Kind, ObjectRef

CONFIG_MAP = Kind(api_version="v1", kind="ConfigMap")
CACHED = GetOptions(live=False, metadata_only=False, subresource=None, extra=[])
LIVE = GetOptions(live=True, metadata_only=False, subresource=None, extra=[])
DONE = Outcome(requeue_after_ms=None, extra=[])
YEAR_2020 = 1_577_836_800
TOO_MANY_BYTES = 4 << 20
"""More than the host takes in one call."""


class WitWorld(Contract):
    def reconcile(self, request: Request) -> Outcome:
        cause, own = request.cause, request.object
        if isinstance(cause, Cause_Scheduled):
            log.emit(log.Level.INFO, "scheduled", [pair for pair in request.extra if pair[0] == "due"])
            return Outcome(requeue_after_ms=1 << 40, extra=[])
        does = json.loads(request.body or "{}").get("data", {}).get("does")
        if isinstance(cause, Cause_Deleted):
            tell(own, [f"deleted {does}"])
        elif does == "transcript":
            tell(own, transcript(request))
        elif isinstance(cause, Cause_Retried) and does in ("fail", "again"):
            tell(own, [f"retried {cause.value}"])
        elif does == "fail":
            raise Err(Error(reason="GuestError", message="told to", status=None, retry_after_ms=1))
        elif does == "again":
            return Outcome(requeue_after_ms=1, extra=[])
        elif does == "wait":
            tell(own, ["waiting"])
            while not leadership.wait(60_000):
                pass
            tell(own, [f"cancelled {said(leadership.cancelled())}"])
        elif does == "meet":
            read.get(own, LIVE)
        return DONE


def transcript(request: Request) -> list[str]:
    print("printed by python")
    log.emit(log.Level.WARN, "called", [("language", "python"), ("text", "ä→😀")])
    return [
        f"cause {type(request.cause).__name__.removeprefix('Cause_').lower()}",
        f"settings {json.loads(settings.get())['greeting']}",
        f"term {leadership.term()}",
        f"cancelled {said(leadership.cancelled())}",
        f"wait {said(leadership.wait(1))}",
        f"clock {said(clock_goes())}",
        f"random {said(random.SystemRandom().random() != random.SystemRandom().random())}",
        *reads(request.object),
        *writes(request.object),
    ]


def reads(own: ObjectRef) -> list[str]:
    def get(name: str, options: GetOptions, kind: str = "ConfigMap") -> str:
        reference = ObjectRef(kind=Kind(api_version="v1", kind=kind), namespace=own.namespace, name=name)
        return came(lambda: read.get(reference, options))

    of_status = GetOptions(live=False, metadata_only=False, subresource="status", extra=[])
    metadata = json.loads(read.get(own, GetOptions(live=True, metadata_only=True, subresource=None, extra=[])))
    parts = f"part-of={own.namespace}.{own.name}"
    return [
        f"get {said(json.loads(read.get(own, CACHED))['metadata']['name'] == own.name)}",
        f"get metadata {said('uid' in metadata['metadata'] and 'data' not in metadata)}",
        f"get missing {get('missing', LIVE)}",
        f"get not granted {get('any', CACHED, kind='Secret')}",
        f"get subresource {get(own.name, of_status)}",
        f"get unknown kind {get('any', CACHED, kind='Nonsense')}",
        f"list cached {listed(own.namespace, labels=parts)}",
        f"list live {listed(own.namespace, labels=parts, live=True)}",
        f"list by field {listed(own.namespace, fields=f'metadata.name={own.name}-part-1')}",
        f"list everywhere {listed(None, labels=parts)}",
    ]


def writes(own: ObjectRef) -> list[str]:
    def named(name: str) -> ObjectRef:
        return ObjectRef(kind=CONFIG_MAP, namespace=own.namespace, name=name)

    def create(body: dict, options: WriteOptions = written()) -> str:
        return came(lambda: write.create(made, json.dumps(body), options))

    def replace() -> str:
        body = {"metadata": {"resourceVersion": stored["metadata"]["resourceVersion"]}, "data": {"a": "2"}}
        return came(lambda: write.replace(made, json.dumps(body), written()))

    def patch(kind: PatchType, body: object) -> str:
        return came(lambda: write.patch(made, kind, json.dumps(body), written()))

    def apply(object: ObjectRef, body: dict, force: bool) -> str:
        return came(lambda: write.apply(object, json.dumps(body), force, written()))

    made, part = named(f"{own.name}-made"), named(f"{own.name}-part-0")
    lines = [
        f"create dry {create({}, written(dry_run=True))}",
        f"create strict {create({'nonsense': 1}, written(field_validation='Strict'))}",
    ]
    stored = json.loads(write.create(made, json.dumps({"data": {"a": "ä→😀"}}), written()))
    lines += [f"create {said(stored['data']['a'] == 'ä→😀')}", f"create again {create({})}"]

    prefix = f"{made.name}-"
    generated = json.loads(write.create(named(prefix), "{}", written()))["metadata"]
    whole = exactly(generated)
    whole.propagation, whole.grace_period_seconds = Propagation.BACKGROUND, 0
    is_generated = generated["name"].startswith(prefix) and generated["name"] != prefix
    lines += [
        f"generated {said(is_generated)}",
        f"delete {came(lambda: write.delete(named(generated['name']), whole))}",
    ]

    removal, ours = [{"op": "remove", "path": "/data/b"}], {"data": {"value": "ours"}}
    changed, event = exactly(stored["metadata"]), "in python: ä→😀"
    return lines + [
        f"replace {replace()}",
        f"replace stale {replace()}",
        f"patch merge {patch(PatchType.MERGE, {'data': {'b': '3'}})}",
        f"patch json {patch(PatchType.JSON, removal)}",
        f"patch json again {patch(PatchType.JSON, removal)}",
        f"apply {apply(part, ours, False)}",
        f"apply forced {apply(part, ours, True)}",
        f"apply other name {apply(named('missing'), {'metadata': {'name': 'other'}}, True)}",
        f"too large {create({'data': {'a': 'x' * TOO_MANY_BYTES}})}",
        f"event {came(lambda: write.record_event(own, EventType.WARNING, 'Called', event))}",
        f"delete changed {came(lambda: write.delete(made, changed))}",
        f"delete {came(lambda: write.delete(made, exactly({})))}",
        f"delete again {came(lambda: write.delete(made, exactly({})))}",
    ]


def written(dry_run: bool = False, field_validation: str | None = None) -> WriteOptions:
    return WriteOptions(subresource=None, dry_run=dry_run, field_validation=field_validation, extra=[])


def exactly(metadata: dict) -> DeleteOptions:
    """Deletes the object that was read, or, without metadata, whatever is there."""
    return DeleteOptions(
        uid=metadata.get("uid"),
        resource_version=metadata.get("resourceVersion"),
        propagation=None,
        grace_period_seconds=None,
        dry_run=False,
        extra=[],
    )


def listed(namespace: str | None, labels: str | None = None, fields: str | None = None, live: bool = False) -> int:
    """How many objects there are, page by page."""
    count, token = 0, None
    while True:
        options = ListOptions(
            namespace=namespace,
            label_selector=labels,
            field_selector=fields,
            limit=2,
            continue_token=token,
            live=live,
            metadata_only=live,
            extra=[],
        )
        page = read.list(CONFIG_MAP, options)
        count, token = count + len(page.items), page.continue_token
        if token is None:
            return count


def came(call) -> str:
    """What a call came to: `ok`, or the error's reason, with the code in the API server's Status where it has one."""
    try:
        call()
        return "ok"
    except Err as failed:
        error = failed.value
        return f"{error.reason} {json.loads(error.status)['code'] if error.status else '-'}"


def tell(own: ObjectRef, lines: list[str]) -> None:
    """Writes the lines where the test reads them."""
    target = ObjectRef(kind=CONFIG_MAP, namespace=own.namespace, name=f"{own.name}-told")
    write.apply(target, json.dumps({"data": {"lines": "\n".join(lines)}}), False, written())


def clock_goes() -> bool:
    """Both clocks: one that knows the year, and one that does not go back."""
    before = time.monotonic()
    return time.time() > YEAR_2020 and time.monotonic() >= before


def said(value: bool) -> str:
    return str(value).lower()
