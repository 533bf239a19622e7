"""The S3 side of storage: the connection, and what its many kinds of error mean.

Endpoint, region and credentials come from the standard AWS chain (AWS_ENDPOINT_URL, AWS_REGION,
AWS_PROFILE, AWS_ACCESS_KEY_ID, the shared config files, the machine's role). Where that yields no
credentials, requests go out unsigned, which is how public buckets are read. AWS_REQUEST_PAYER=requester
pays for buckets whose owner does not. docs/storage.md says what each vendor's store needs.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import botocore.exceptions as boto
import botocore.session
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import AioSession
from aiohttp import ClientPayloadError, ClientTimeout
from botocore.parsers import ResponseParserError
from botocore.utils import parse_timestamp
from fsspec.asyn import sync
from s3fs import S3FileSystem
from s3fs.core import S3File, _inner_fetch, set_custom_error_handler
from s3fs.utils import FileExpired

from tasks.adapters.storage.s3_listing import objects
from tasks.adapters.storage.s3_refusals import (
    OVERTAKEN_STATUSES,
    is_transient,
    may_be_of_checksums,
    reason_of_reply,
    reply_behind,
    status_of,
)
from tasks.adapters.storage.store import BLOCK_BYTES, PART_IS_DEAD_AFTER_S, Store
from tasks.core.errors import SettingsError
from tasks.core.listing import Sieve
from tasks.core.records import VideoRef

CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 10.0
REQUEST_TIMEOUT_S = 600.0
"""Time for one request with all of its answer, at most `BLOCK_BYTES`: 30 kB/s are enough."""
MAX_ATTEMPTS = 3
"""Tries of a request, and again of a block: a server that hangs holds a call for 9 read timeouts."""

MAX_UPLOADS = 4
"""Parts of one large upload in flight, each `BLOCK_BYTES`."""

_CREDENTIAL_ERRORS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.ProfileNotFound,
    boto.ConfigParseError,
    boto.ConfigNotFound,
    boto.TokenRetrievalError,
    boto.SSOError,
    boto.LoginError,
)
_TORN_ERRORS = (
    ClientPayloadError,
    ResponseParserError,
    boto.ConnectionClosedError,
    boto.ResponseStreamingError,
    boto.IncompleteReadError,
    boto.FlexibleChecksumError,
)
_INVALID_ERRORS = (boto.ParamValidationError, boto.InvalidDNSNameError, boto.EndpointProviderError)

log = logging.getLogger(__name__)

_connections: dict[int, S3FileSystem] = {}


def close_connections() -> None:
    """Close this process's connections; the next use reads the AWS settings afresh."""
    connection = _connections.pop(os.getpid(), None)
    if connection is not None and connection._s3 is not None:
        sync(connection.loop, connection._s3.close)


class S3Store(Store):
    """A prefix of a bucket. A version is told by its ETag."""

    scheme = "s3://"

    @property
    def _fs(self) -> S3FileSystem:
        # By process, because a used connection hangs after a fork. Two threads that come first at
        # once both build one, which is harmless: it connects at the first call, and one is kept.
        if os.getpid() not in _connections:
            _connections.setdefault(os.getpid(), _connection())
        return _connections[os.getpid()]

    @property
    def sends_checksums(self) -> bool:  # type: ignore[override]
        return _checksums(self._fs)

    def _find(self, path: str, sieve: Sieve | None = None) -> Iterator[VideoRef]:
        # Page by page ourselves: s3fs's find() is quadratic in folders (20,000 of them take 10 s).
        bucket, key, _ = self._fs.split_path(path)
        empty = True
        for entry in objects(self._page, bucket, f"{key}/" if key else "", side_by_side=sieve is not None):
            empty = False
            yield self._ref(f"{bucket}/{entry['Key']}", entry["Size"], entry)
        if empty and key:
            with suppress(FileNotFoundError):
                yield self._stat(path)

    def _page(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        page: Mapping[str, Any] = self._fs.call_s3("list_objects_v2", **request)
        return page

    def _stat(self, path: str) -> VideoRef:
        return self._described(self._fs.info(path))

    def _open(self, path: str, ends_at: float) -> Any:
        options = {"cache_type": "none", "requester_pays": self._fs.requester_pays}
        return _TimedFile(self._fs, path, block_size=BLOCK_BYTES, ends_at=ends_at, **options)

    def _opened(self, stream: Any) -> VideoRef:
        return self._described(stream.details)

    def _described(self, info: Mapping[str, Any]) -> VideoRef:
        if info["type"] != "file":
            raise FileNotFoundError(info["name"])
        return self._ref(info["name"], info["size"], info)

    def _ref(self, path: str, size_bytes: int, said: Mapping[str, Any]) -> VideoRef:
        return VideoRef(self.scheme + path, said["ETag"].strip('"'), size_bytes, said.get("LastModified"))

    def _put(self, local: Path, path: str) -> None:
        # Never fs.open(path, "wb"): leaving that block by an exception commits half an object.
        options = {"chunksize": BLOCK_BYTES, "max_concurrency": MAX_UPLOADS}
        _written(self._fs, partial(self._fs.put_file, str(local), path, **options))

    def _put_bytes(self, content: bytes, path: str) -> None:
        _written(self._fs, partial(self._fs.pipe_file, path, content))

    def _update(self, path: str, change: Callable[[bytes | None], bytes | None], *, sure: bool) -> bool:
        bucket, key, _ = self._fs.split_path(path)
        current, condition = None, {"IfNoneMatch": "*"}
        with suppress(FileNotFoundError):
            reply = self._fs.call_s3("get_object", Bucket=bucket, Key=key)
            current = bytes(sync(self._fs.loop, reply["Body"].read))
            # Ceph's gateway knows it only without its quotes; the others take both.
            condition = {"IfMatch": reply["ETag"].strip('"')}
        changed = change(current)
        if changed is None:
            return True
        put = partial(self._fs.call_s3, "put_object", Bucket=bucket, Key=key, Body=changed)
        try:
            _written(self._fs, partial(put, **(condition if sure else {})))
        except Exception as error:
            refusal = reply_behind(error)
            if refusal is None or not sure:
                raise
        else:
            return True
        if status_of(refusal) in OVERTAKEN_STATUSES:
            return False
        # Either the store has no conditional writes, or the request is wrong: then this one is refused, too.
        _written(self._fs, put)
        log.info("The store has no conditional writes (%s): the last of two writers wins.", refusal)
        return True

    def _remove(self, path: str) -> None:
        bucket, key, _ = self._fs.split_path(path)
        self._fs.call_s3("delete_object", Bucket=bucket, Key=key)

    def _remove_parts(self) -> None:
        bucket, key, _ = self._fs.split_path(self._root)
        prefix = f"{key}/" if key else ""
        for upload in self._fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix).get(
            "Uploads", ()
        ):
            if (datetime.now(UTC) - upload["Initiated"]).total_seconds() > PART_IS_DEAD_AFTER_S:
                self._fs.call_s3(
                    "abort_multipart_upload", Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )

    def _explain(self, error: Exception, path: str) -> tuple[str, str]:
        if isinstance(error, FileExpired):
            return "changed", ""
        if reply := reply_behind(error):
            reason, answer = reason_of_reply(self._in_full(reply, path))
            if reason == "denied" and self._fs.anon:
                return "no_credentials", f"no AWS credentials were found, and it is not public ({answer})"
            return reason, f"the store answered {answer}"
        for kinds, reason in (
            (_CREDENTIAL_ERRORS, "no_credentials"),
            (_TORN_ERRORS, "torn"),
            (_INVALID_ERRORS, "invalid"),
        ):
            if isinstance(error, kinds):
                return reason, f"{type(error).__name__}: {error}"
        return super()._explain(error, path)

    def _in_full(self, reply: boto.ClientError, path: str) -> boto.ClientError:
        """The store's refusal with its reason: the answer to HEAD has no body, that to GET would have."""
        bucket, key, _ = self._fs.split_path(path)
        if reply.operation_name == "HeadObject" and key:
            try:
                body = self._fs.call_s3("get_object", Bucket=bucket, Key=key, Range="bytes=0-0")["Body"]
                body.close()
            except Exception as error:
                full = reply_behind(error)
                return full if full and status_of(full) == status_of(reply) else reply
        return reply


def _written(connection: S3FileSystem, put: Callable[[], Any]) -> Any:
    """What `put` returns. Where the store refuses it for its checksum, that is left out from then on."""
    had_checksums = _checksums(connection)
    try:
        return put()
    except Exception as error:
        refusal = reply_behind(error)
        if not had_checksums or refusal is None or not may_be_of_checksums(refusal):
            raise
    _use_checksums(connection, False)
    try:
        done = put()
    except Exception:
        _use_checksums(connection, True)
        raise
    log.info("The store refuses checksums (%s): they are left out.", refusal)
    return done


def _checksums(connection: S3FileSystem) -> bool:
    """Whether requests carry the checksums (x-amz-checksum-*) that botocore adds by itself."""
    client = connection.connect()
    return bool(client.meta.config.request_checksum_calculation != "when_required")


def _use_checksums(connection: S3FileSystem, used: bool) -> None:
    how = "when_supported" if used else "when_required"
    connection.connect().meta.config.request_checksum_calculation = how
    connection.config_kwargs["request_checksum_calculation"] = how  # for the next client


class _TimedFile(S3File):  # type: ignore[misc]
    """An object that is read in blocks up to a point of the monotonic clock, however slowly it drips."""

    def __init__(self, *args: Any, ends_at: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self._ends_at = ends_at

    def _fetch_range(self, start: int, end: int) -> bytes:
        left_s = None if self._ends_at == math.inf else max(self._ends_at - time.monotonic(), 0.001)
        where = (self.fs, self.bucket, self.key, self.version_id, start, end, self.read_kw, self.details)
        return bytes(sync(self.fs.loop, _inner_fetch, *where, timeout=left_s))


class _Session(AIOHTTPSession):  # type: ignore[misc]
    """Connections on which no request takes for ever: `read_timeout` alone begins anew with each byte."""

    def __init__(self, *args: Any, timeout: tuple[float, float], **options: Any) -> None:
        super().__init__(*args, timeout=timeout, **options)
        connect_s, read_s = timeout
        self._timeout = ClientTimeout(REQUEST_TIMEOUT_S, sock_connect=connect_s, sock_read=read_s)


def _session() -> AioSession:
    """A session that reads the time of an object in a microsecond: by itself it takes most of a listing."""
    session = AioSession()
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_time_of)
    return session


def _time_of(said: str) -> datetime:
    try:
        return datetime.fromisoformat(said)
    except (TypeError, ValueError):  # as headers write it
        parsed: datetime = parse_timestamp(said)
        return parsed


def _connection() -> S3FileSystem:
    set_custom_error_handler(is_transient)
    payer = os.environ.get("AWS_REQUEST_PAYER", "")
    if payer.lower() not in ("", "requester"):
        raise SettingsError(f"AWS_REQUEST_PAYER is {payer!r}: write requester, or leave it out.")
    connection = S3FileSystem(
        session=_session(),
        requester_pays=bool(payer),
        anon=botocore.session.Session().get_credentials() is None,
        # A cached listing would vouch for versions that are gone.
        use_listings_cache=False,
        skip_instance_cache=True,
        # One request an object in cat_file(): ranges fetched side by side name no version.
        max_concurrency=1,
        config_kwargs={
            # botocore itself reads AWS_DEFAULT_REGION only, where all other SDKs read this.
            "region_name": os.environ.get("AWS_REGION") or None,
            "http_session_cls": _Session,
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            # Some stores refuse to be asked for checksums (x-amz-checksum-mode), or give that of the whole
            # object for each block. What is read is compared by size and ETag.
            "response_checksum_validation": "when_required",
            # s3fs tries again by itself; both together would multiply.
            "retries": {"mode": "standard", "total_max_attempts": 1},
        },
    )
    connection.retries = MAX_ATTEMPTS
    return connection
