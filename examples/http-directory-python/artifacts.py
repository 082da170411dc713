"""The artifact server, as this controller uses it: what an author needs to know of Weir's contract.

A `key` is namespace and name of an ExternalArtifact, a `uid` that of the object that its files belong to."""

import io
import itertools
import tarfile

import grpc
from weir.artifact.v1 import artifact_pb2, files_pb2, storage_pb2, storage_pb2_grpc

CONTROLLER = "http-directory"
CALL, UPLOAD = 30, 300  # seconds; the server leaves nothing behind of a call that its deadline cut off


def caller(uid):
    """Who asks: the owner of files, which others can not replace or remove. With leader election, `epoch` and `lease` belong here, too."""
    return artifact_pb2.Caller(owner=f"{CONTROLLER}/{uid}")


def reference(key):
    return artifact_pb2.ArtifactRef(kind="ExternalArtifact", namespace=key[0], name=key[1])


class ArtifactServer:
    def __init__(self, address):
        # The path of a socket, which gRPC sends as authority, is none. And a server that is back is found sooner than in two minutes.
        options = [("grpc.default_authority", "localhost"), ("grpc.max_reconnect_backoff_ms", 5000)]
        self.storage = storage_pb2_grpc.ArtifactStorageStub(grpc.insecure_channel(address.removeprefix("http://"), options))

    def archive(self, key, uid, files):
        """Sends files; returns what status.artifact is to be. The same files give the same artifact: to send them again is always safe."""
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)  # order, owners and times do not matter: the server's archive has none
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        tar.seek(0)
        rules = files_pb2.IgnoreRules(builtin=files_pb2.BUILTIN_RULES_NONE)  # else Flux's list applies: no images, archives, files of CI
        header = files_pb2.ArchiveHeader(caller=caller(uid), artifact=reference(key), ignore=rules)
        chunks = (files_pb2.ArchiveRequest(chunk=chunk) for chunk in iter(lambda: tar.read(256 * 1024), b""))
        messages = itertools.chain([files_pb2.ArchiveRequest(header=header)], chunks)
        stored = self.storage.Archive(messages, timeout=UPLOAD).artifact
        fields = {field: getattr(stored, field) for field in ("path", "url", "revision", "digest", "size")}
        return fields | {"lastUpdateTime": stored.last_update_time.ToDatetime().strftime("%Y-%m-%dT%H:%M:%SZ")}

    def verify(self, artifact):
        """Whether the file that we published is there and intact."""
        request = storage_pb2.VerifyRequest(path=artifact["path"], digest=artifact["digest"])
        return self.storage.Verify(request, timeout=CALL).verdict == storage_pb2.VERDICT_OK

    def collect(self, key, uid, artifact):
        """Removes old files, as retention says, but never the one that we have published: call it when that is done."""
        one = storage_pb2.Collectable(artifact=reference(key), current_path=artifact["path"])
        self.storage.GarbageCollect(storage_pb2.GarbageCollectRequest(caller=caller(uid), artifacts=[one]), timeout=CALL)

    def remove(self, key, keep=None):
        """Removes our files, but those of the object `keep`. Names are unique: another UID is an object that is gone."""
        stored = self.storage.List(storage_pb2.ListRequest(controller=CONTROLLER, namespace=key[0], name=key[1]), timeout=CALL)
        for uid in {answer.file.owner.partition("/")[2] for answer in stored} - {keep}:
            self.storage.RemoveAll(storage_pb2.RemoveAllRequest(caller=caller(uid), artifact=reference(key)), timeout=CALL)

    def follow(self, known):
        """Keys to look at, until the connection ends. Events are hints, and some are missed: at the start and after a gap these are all
        that are known, and all that the server has, as their objects may be gone."""
        # The server serves as soon as a controller wants that. Said on each connect: its volume may be a new one.
        self.storage.SetServing(storage_pb2.SetServingRequest(caller=caller("controller"), on=True), timeout=CALL)
        for event in self.storage.Watch(storage_pb2.WatchRequest(controller=CONTROLLER)):
            if event.type in (storage_pb2.EVENT_TYPE_STARTED, storage_pb2.EVENT_TYPE_GAP):
                stored = self.storage.List(storage_pb2.ListRequest(controller=CONTROLLER), timeout=CALL)
                yield from {*known, *(tuple(answer.file.artifact.path.split("/")[1:3]) for answer in stored)}
            elif event.type != storage_pb2.EVENT_TYPE_STORED:
                yield tuple(event.path.split("/")[1:3])
