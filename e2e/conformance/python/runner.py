"""Runs the conformance cases over grpcio's generated stubs: python runner.py SETUP. The format is in ../README.md."""

import json
import pathlib
import re
import sys
import threading
import urllib.request

import grpc
from google.protobuf import json_format
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from weir.artifact.v1 import builder_pb2, builder_pb2_grpc, storage_pb2, storage_pb2_grpc

DEADLINE = 30


class Failed(Exception):
    """What a step should not have done."""


def filled(value, variables):
    """Puts variables in; a text that is nothing else becomes the variable, whatever that is."""
    if isinstance(value, dict):
        return {name: filled(item, variables) for name, item in value.items()}
    if isinstance(value, list):
        return [filled(item, variables) for item in value]
    if not isinstance(value, str):
        return value
    whole = re.fullmatch(r"\$\{([^}]*)\}", value)
    return variables[whole[1]] if whole else re.sub(r"\$\{([^}]*)\}", lambda name: variables[name[1]], value)


def is_default(value):
    return value in (None, False, 0, "", "0", [], {})


def same(expected, found):
    return type(expected) is type(found) and expected == found or found is None and is_default(expected)


def fits(pattern, found, at, variables):
    """Raises where an answer does not fit its pattern."""
    if isinstance(pattern, list):
        items = found or []
        if len(items) != len(pattern):
            raise Failed(f"{at}: {len(pattern)} items expected, found {str(found)[:300]}")
        for index, item in enumerate(pattern):
            fits(item, items[index], f"{at}[{index}]", variables)
    elif isinstance(pattern, dict):
        rule = next(iter(pattern), "")
        if rule.startswith("$"):
            if not follows(rule, pattern[rule], found, at, variables):
                raise Failed(f"{at}: {pattern} does not hold for {str(found)[:300]}")
        else:
            for name, item in pattern.items():
                fits(item, (found or {}).get(name), f"{at}.{name}", variables)
    elif not same(expected := filled(pattern, variables), found):
        raise Failed(f"{at}: {expected!r} expected, found {str(found)[:300]}")


def follows(rule, value, found, at, variables):
    text = found if isinstance(found, str) else ""
    if rule == "$any":
        return not is_default(found)
    if rule == "$save":
        variables[value] = text
        return text != ""
    if rule == "$has":
        return all(any(fitting(wanted, item, variables) for item in found or []) for wanted in value)
    wanted = filled(value, variables)
    rules = {"$not": text != wanted, "$prefix": text.startswith(wanted), "$suffix": text.endswith(wanted), "$contains": wanted in text}
    if rule not in rules:
        raise Failed(f"{at}: there is no rule {rule}")
    return rules[rule]


def fitting(pattern, found, variables):
    try:
        fits(pattern, found, "answer", dict(variables))
        return True
    except Failed:
        return False


class Sending:
    """The client's side of a stream: messages, and then, if it is held, nothing until it is released."""

    def __init__(self, messages, held):
        self.messages, self.end = messages, threading.Event()
        if not held:
            self.end.set()

    def __iter__(self):
        for times, message in self.messages:
            for _ in range(times):
                yield message
        self.end.wait()


class Open:
    """A call whose answers are being read, and what lets its own side end."""

    def __init__(self, answers, sending, call):
        self.answers, self.sending, self.call = answers, sending, call

    def cancel(self):
        if self.call is not None:
            self.call.cancel()
        if self.sending is not None:
            self.sending.end.set()


class Runner:
    def __init__(self, setup):
        self.setup = setup
        self.stubs = {name: self.connect(peer) for name, peer in setup["peers"].items()}
        services = [
            storage_pb2.DESCRIPTOR.services_by_name["ArtifactStorage"],
            builder_pb2.DESCRIPTOR.services_by_name["ArtifactBuilder"],
        ]
        self.methods = {method.name: (method, at) for at, service in enumerate(services) for method in service.methods}

    def connect(self, peer):
        endpoint = peer["endpoint"]
        if endpoint.startswith("https://"):
            files = [peer.get(name) for name in ("authority", "key", "certificate")]
            pems = [pathlib.Path(file).read_bytes() if file else None for file in files]
            channel = grpc.secure_channel(endpoint.removeprefix("https://"), grpc.ssl_channel_credentials(*pems))
        else:
            # Without it, grpcio names the path of the socket as the authority, which no HTTP/2 server has to take, and ours does not.
            channel = grpc.insecure_channel(endpoint, options=[("grpc.default_authority", "localhost")])
        return storage_pb2_grpc.ArtifactStorageStub(channel), builder_pb2_grpc.ArtifactBuilderStub(channel)

    def variables(self, name):
        namespace = self.setup["variables"]["namespace"]
        controller = f"{namespace}-{name}"
        return dict(
            self.setup["variables"],
            name=name,
            dir=f"externalartifact/{namespace}/{name}",
            artifact={"kind": "ExternalArtifact", "namespace": namespace, "name": name},
            controller=controller,
            me={"owner": f"{controller}/1"},
        )

    def case(self, case):
        """Carries out one case: why it failed, or nothing."""
        variables, opened = self.variables(case["name"]), {}
        try:
            for number, step in enumerate(case["steps"]):
                try:
                    self.step(step, variables, opened)
                except Exception as error:  # Whatever it is, this case has failed, and the next one is another.
                    return f"step {number} ({step.get('call', step)}): {type(error).__name__}: {error}"[:2000]
            return ""
        finally:
            for left in opened.values():
                left.cancel()

    def step(self, step, variables, opened):
        send = filled(step.get("send"), variables)
        if "tell" in step:
            url = f"{self.setup['control']}/{step['tell']}"
            urllib.request.urlopen(urllib.request.Request(url, json.dumps(send).encode(), method="POST"), timeout=DEADLINE)
            return
        if "call" in step:
            call, stays = self.call(step, send), step.get("open")
        elif "on" in step:
            call, stays = opened.pop(step["on"]), step["on"]
        else:
            call, stays = opened.pop(step["close"]), None
            call.sending.end.set()
        self.answers(call, step, stays, variables, opened)

    def call(self, step, send):
        method, service = self.methods[step["call"]]
        kind = method.input_type._concrete_class
        read = lambda value: json_format.ParseDict(value, kind())
        stub = getattr(self.stubs[step.get("as", "tenant")][service], method.name)
        sending = None
        if method.client_streaming:
            items = send or []
            messages = [
                (item["$times"], read(item["message"])) if "$times" in item else (1, read(item)) for item in items
            ]
            sending = Sending(messages, step.get("hold") or "open" in step)
        request = read(send or {}) if sending is None else iter(sending)
        deadline = step["deadline_ms"] / 1000 if "deadline_ms" in step else DEADLINE
        if method.server_streaming:
            call = stub(request, timeout=deadline)
            return Open(iter(call), sending, call)
        # A unary answer is read like a stream of one.
        return Open((stub(request, timeout=deadline) for _ in range(1)), sending, None)

    def answers(self, call, step, stays, variables, opened):
        expected = step["answers"] if "answers" in step else [step["answer"]] if "answer" in step else None
        stays = stays if "error" not in step else None
        found, ended = [], None
        try:
            while not stays or len(found) < len(expected or []):
                # The deadline of the call bounds it.
                if (answer := next(call.answers, None)) is None:
                    break
                found.append(json_format.MessageToDict(answer))
        except grpc.RpcError as error:
            ended = error
        if stays:
            opened[stays] = call
        else:
            call.cancel()
        self.ends(step.get("error"), ended, variables)
        if expected is None:
            return
        if step.get("unordered"):
            ordered = []
            for pattern in expected:
                at = next((at for at, answer in enumerate(found) if fitting(pattern, answer, variables)), None)
                if at is None:
                    raise Failed(f"{pattern} is not among {found}")
                ordered.append(found.pop(at))
            found = ordered + found
        fits(expected, found, "answers", variables)

    def ends(self, expected, ended, variables):
        if expected is None and ended is None:
            return
        code = ended.code().name if ended is not None else "OK"
        message = ended.details() if ended is not None else ""
        reason, field = details(ended) if ended is not None else ("", "")
        found = {"code": code, "reason": reason, "field": field}
        wrong = expected is None or ended is None or filled(expected.get("message", ""), variables) not in message
        if wrong or any(found[name] != expected.get(name, found[name]) for name in found):
            raise Failed(f"{expected} expected, found {found}: {message}")


def details(error):
    """Reason and field of an error of Weir's."""
    reason = field = ""
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else []:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info) and info.domain == "weir.dev":
            reason = info.reason
        elif detail.Unpack(bad) and bad.field_violations:
            field = bad.field_violations[0].field
    return reason, field


def main():
    setup = json.loads(pathlib.Path(sys.argv[1]).read_text())
    runner = Runner(setup)
    for file in sorted(pathlib.Path(setup["cases"]).glob("*.json")):
        for case in json.loads(file.read_text()):
            if case.get("transport", setup["transport"]) == setup["transport"]:
                why = runner.case(case)
                print(json.dumps({"case": case["name"], "ok": not why, "why": why}), flush=True)


if __name__ == "__main__":
    main()
