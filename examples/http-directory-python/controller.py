"""Makes Flux artifacts of HTTP directories: one for each ConfigMap with the label below. Start at `reconcile`."""

import argparse
import logging
import re
import signal
import sys
import threading
import time

import grpc
import kubernetes

from artifacts import CALL, CONTROLLER, ArtifactServer
from directory import Directory, DirectoryError

LABEL = FINALIZER = "http-directory.example.com/publish"
MANAGED_BY = "app.kubernetes.io/managed-by"
CONFIG_MAP, OUTPUT = {"apiVersion": "v1", "kind": "ConfigMap"}, {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "ExternalArtifact"}
APPLY = {"field_manager": CONTROLLER, "force_conflicts": True, "_request_timeout": CALL}


class Controller:
    def __init__(self, options):
        cluster = kubernetes.dynamic.DynamicClient(kubernetes.client.ApiClient())
        self.sources = cluster.resources.get(api_version="v1", kind="ConfigMap")
        self.outputs = cluster.resources.get(api_version=OUTPUT["apiVersion"], kind=OUTPUT["kind"])
        self.options, self.server = options, ArtifactServer(options.artifact_server)
        # By key, namespace and name: what saves work. None of it is needed to go on after a crash.
        self.directories, self.sent, self.failures, self.due = {}, {}, {}, {}

    def reconcile(self, key):
        """Makes the cluster and the artifact server what the ConfigMap says; returns in how many seconds to look again."""
        source, output = self.get(self.sources, key), self.get(self.outputs, key)
        is_ours = output and output["metadata"].get("labels", {}).get(MANAGED_BY) == CONTROLLER
        if not source or LABEL not in source["metadata"].get("labels", {}) or source["metadata"].get("deletionTimestamp"):
            return self.forget(key, source, is_ours)
        if output and not is_ours:
            raise ValueError("an ExternalArtifact of this name is somebody else's: choose another name")
        self.hold(key, source, [FINALIZER])  # before the first file: so nothing can be deleted before its files are
        output, uid = self.apply(key, source), source["metadata"]["uid"]
        artifact = output.get("status", {}).get("artifact")
        # While the server is away nothing is known to be wrong: this raises, and the conditions stay as they are.
        intact = artifact and self.server.verify(artifact)
        try:
            url, interval = settings(source.get("data", {}))
            files = self.directories.setdefault(key, Directory(self.options)).poll(url)
            if not intact or self.sent.get(key) != (uid, files, artifact):
                self.server.remove(key, keep=uid)
                artifact = self.server.archive(key, uid, files)
        except (ValueError, grpc.RpcError) as error:
            reason = "StorageOperationFailed" if isinstance(error, grpc.RpcError) else "FetchFailed"
            self.report(key, output, artifact, reason, text(error))  # the old artifact stays published: consumers keep what they have
            raise
        self.report(key, output, artifact, "Succeeded", f"stored {len(files)} files of {url}")  # only now: the file is durable
        self.sent[key] = (uid, files, artifact)
        self.server.collect(key, uid, artifact)
        return interval

    def forget(self, key, source, is_ours):
        """First what consumers read, then the files; when both are gone, the ConfigMap may go."""
        if is_ours:
            self.outputs.delete(key[1], key[0], _request_timeout=CALL)
        self.server.remove(key)
        self.directories.pop(key, None), self.sent.pop(key, None)
        if source:
            self.hold(key, source, [])

    def get(self, resource, key):
        found = resource.get(namespace=key[0], field_selector=f"metadata.name={key[1]}", _request_timeout=CALL).to_dict()
        return next(iter(found["items"]), None)

    def hold(self, key, source, finalizers):
        # With the UID, so that server-side apply never makes an object anew that is gone. Finalizers of others stay.
        meta = {"name": key[1], "namespace": key[0], "uid": source["metadata"]["uid"], "finalizers": finalizers}
        self.sources.server_side_apply(CONFIG_MAP | {"metadata": meta}, **APPLY)

    def apply(self, key, source):
        """The ExternalArtifact without its status, put right if somebody changed it."""
        origin = CONFIG_MAP | {"name": key[1]}
        owners, spec = [origin | {"uid": source["metadata"]["uid"]}], {"sourceRef": origin | {"namespace": key[0]}}
        meta = {"name": key[1], "namespace": key[0], "labels": {MANAGED_BY: CONTROLLER}, "ownerReferences": owners}
        return self.outputs.server_side_apply(OUTPUT | {"metadata": meta, "spec": spec}, **APPLY).to_dict()

    def report(self, key, output, artifact, reason, message):
        """The status: what consumers download, and whether that is what the directory has."""
        status, ready = output.get("status", {}), "True" if reason == "Succeeded" else "False"
        old = next((one for one in status.get("conditions", []) if one["type"] == "Ready"), {})
        since = old["lastTransitionTime"] if old.get("status") == ready else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        new = {"type": "Ready", "status": ready, "reason": reason, "message": message, "lastTransitionTime": since}
        new["observedGeneration"] = output["metadata"]["generation"]
        fields = {"conditions": [new]} | ({"artifact": artifact} if artifact else {})  # what is not applied again is removed
        if status != fields:
            body = OUTPUT | {"metadata": {"name": key[1], "namespace": key[0]}, "status": fields}
            self.outputs.status.server_side_apply(body, **APPLY)

    def follow(self, resource, label):
        """Keys of objects that change; all of them again after ten minutes, so that what is missed is not missed for long."""
        for event in resource.watch(namespace=self.options.namespace, label_selector=label, timeout=600):
            yield event["raw_object"]["metadata"]["namespace"], event["raw_object"]["metadata"]["name"]

    def listen(self, follow, *args):
        while True:
            try:
                for key in follow(*args):
                    self.due[key] = 0
            except Exception as error:  # the other side is away, and comes back
                logging.warning("no news: %s", text(error))
            time.sleep(1)

    def run(self):
        changes = [(self.follow, self.sources, LABEL), (self.follow, self.outputs, f"{MANAGED_BY}={CONTROLLER}")]
        for news in [*changes, (self.server.follow, self.directories)]:
            threading.Thread(target=self.listen, args=news, daemon=True).start()
        while True:  # one worker: while one directory is read, the others wait; for many use a pool
            for key in [key for key, at in list(self.due.items()) if at <= time.monotonic()]:
                del self.due[key]
                try:
                    again, self.failures[key] = self.reconcile(key), 0
                except Exception as error:  # whatever is wrong with one, the others go on
                    self.failures[key] = min(self.failures.get(key, 0) + 1, 6)
                    again = 2 ** self.failures[key]
                    logging.warning("%s/%s: %s; again in %d s", *key, text(error), again)
                if again:
                    self.due.setdefault(key, time.monotonic() + again)
            time.sleep(0.2)


def text(error):
    return next((getattr(error, method)() for method in ("details", "summary") if hasattr(error, method)), str(error))


def settings(data):
    url, interval = data.get("url", "").rstrip("/") + "/", re.fullmatch(r"([1-9]\d{0,5})([smh])", data.get("interval", "1m"))
    if not re.fullmatch(r"https?://[^/?#]+/[^?#]*", url) or not interval:
        raise DirectoryError('data.url must be like "http://host/path/", and data.interval, if there is one, like "30s", "5m" or "1h"')
    return url, int(interval[1]) * {"s": 1, "m": 60, "h": 3600}[interval[2]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifact-server", default="unix:///run/weir/s/artifact.sock", help="where weir-artifact-server listens")
    parser.add_argument("--namespace", help="the only one to watch; default: all")
    for what, most in (("entries", 1000), ("bytes", 16 << 20), ("seconds", 60)):
        parser.add_argument(f"--max-{what}", type=int, default=most, help="that reading one directory may take")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its retries: what comes of them is told below
    sys.excepthook = lambda kind, error, _: kind is KeyboardInterrupt or logging.error("the Kubernetes API can not be used: %s", text(error) or kind.__name__)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # the first process of a container has no default for it
    kubernetes.config.load_config()
    Controller(options).run()
