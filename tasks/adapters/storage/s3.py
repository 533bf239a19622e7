"""The S3 side of storage: the connection, and what its many kinds of error mean.

Endpoint, region and credentials come from the standard AWS chain (AWS_ENDPOINT_URL, AWS_REGION,
AWS_PROFILE, AWS_ACCESS_KEY_ID, the shared config files, the machine's role). Where that yields no
credentials, requests go out unsigned, which is how public buckets are read.
"""

from __future__ import annotations

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
from aiohttp import ClientPayloadError, ClientTimeout
from botocore.parsers import ResponseParserError
from fsspec.asyn import sync
from s3fs import S3FileSystem
from s3fs.core import S3File, _inner_fetch, set_custom_error_handler
from s3fs.utils import FileExpired

from tasks.adapters.storage.store import BLOCK_BYTES, PART_IS_DEAD_AFTER_S, Store
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

_CODES = {
    "SlowDown": "throttled",
    "ExpiredToken": "denied",
    "InvalidToken": "denied",
    "TokenRefreshRequired": "denied",
    "RequestTimeTooSkewed": "clock_skew",
    "RequestTimeout": "unavailable",
    "BadDigest": "torn",
    "IncompleteBody": "torn",
    "XAmzContentSHA256Mismatch": "torn",
}
_STATUSES = {401: "denied", 403: "denied", 404: "not_found", 412: "changed", 416: "changed"}
_THROTTLED_STATUSES = {429, 503}

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
)
_INVALID_ERRORS = (boto.ParamValidationError, boto.InvalidDNSNameError, boto.EndpointProviderError)

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

    def _find(self, path: str, sieve: Sieve | None = None) -> Iterator[VideoRef]:
        # Page by page ourselves: s3fs's find() is quadratic in folders (20,000 of them take 10 s).
        bucket, key, _ = self._fs.split_path(path)
        request = {"Bucket": bucket, "Prefix": f"{key}/" if key else ""}
        empty = True
        while True:
            page = self._fs.call_s3("list_objects_v2", **request)
            for entry in page.get("Contents", ()):
                empty = False
                yield self._ref(f"{bucket}/{entry['Key']}", entry["Size"], entry)
            if not page.get("IsTruncated"):
                break
            request["ContinuationToken"] = page["NextContinuationToken"]
        if empty and key:
            with suppress(FileNotFoundError):
                yield self._stat(path)

    def _stat(self, path: str) -> VideoRef:
        return self._described(self._fs.info(path))

    def _open(self, path: str, ends_at: float) -> Any:
        return _TimedFile(self._fs, path, block_size=BLOCK_BYTES, cache_type="none", ends_at=ends_at)

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
        self._fs.put_file(str(local), path, chunksize=BLOCK_BYTES, max_concurrency=MAX_UPLOADS)

    def _put_bytes(self, content: bytes, path: str) -> None:
        self._fs.pipe_file(path, content)

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
            put(**(condition if sure else {}))
        except Exception as error:
            status = _status(reply) if (reply := _reply_behind(error)) else 0
            if status == 501:  # the store has no conditional writes
                put()
            elif status in {404, 409, 412}:  # 409: another conditional write is under way
                return False
            else:
                raise
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

    def _is_opaque(self, ref: VideoRef) -> bool:
        # docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html: under SSE-KMS and SSE-C the ETag
        # is no MD5 of the data.
        bucket, key, _ = self._fs.split_path(ref.uri)
        head = self._fs.call_s3("head_object", Bucket=bucket, Key=key)
        return head.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in head

    def _explain(self, error: Exception) -> tuple[str, str]:
        if isinstance(error, FileExpired):
            return "changed", ""
        if reply := _reply_behind(error):
            reason, code = _reason_of_reply(reply)
            if reason == "denied" and self._fs.anon:
                return "no_credentials", f"no AWS credentials were found, and it is not public ({code})"
            return reason, f"the store answered {code}"
        for kinds, reason in (
            (_CREDENTIAL_ERRORS, "no_credentials"),
            (_TORN_ERRORS, "torn"),
            (_INVALID_ERRORS, "invalid"),
        ):
            if isinstance(error, kinds):
                return reason, f"{type(error).__name__}: {error}"
        return super()._explain(error)


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


def _connection() -> S3FileSystem:
    set_custom_error_handler(_is_transient)
    connection = S3FileSystem(
        anon=botocore.session.Session().get_credentials() is None,
        # A cached listing would vouch for versions that are gone.
        use_listings_cache=False,
        skip_instance_cache=True,
        # One request an object in cat_file(): ranges fetched side by side name no version.
        max_concurrency=1,
        config_kwargs={
            "http_session_cls": _Session,
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            # s3fs tries again by itself; both together would multiply.
            "retries": {"mode": "standard", "total_max_attempts": 1},
        },
    )
    connection.retries = MAX_ATTEMPTS
    return connection


def _reply_behind(error: BaseException | None) -> boto.ClientError | None:
    """The server's answer that led to `error`, even where s3fs stumbled over it on its way out."""
    while error is not None and not isinstance(error, boto.ClientError):
        error = error.__cause__ or error.__context__
    return error


def _is_transient(error: Exception) -> bool:
    """What s3fs should try again besides broken transfers: trouble inside the server."""
    return isinstance(error, boto.ClientError) and (
        _status(error) >= 500 or _status(error) in _THROTTLED_STATUSES
    )


def _status(reply: boto.ClientError) -> int:
    return int(reply.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _reason_of_reply(reply: boto.ClientError) -> tuple[str, str]:
    status = _status(reply)
    code = str(reply.response.get("Error", {}).get("Code", status))
    if code in _CODES:
        return _CODES[code], code
    if status in _THROTTLED_STATUSES:
        return "throttled", code
    return _STATUSES.get(status, "unavailable" if status >= 500 else "invalid"), code
