"""What workers are sent is small, and the same when it arrives."""

from __future__ import annotations

import pickle

from tests.spec import make_spec


def test_a_spec_travels_whole_even_after_its_stores_were_used() -> None:
    spec = make_spec("s3://bucket/videos", "s3://bucket/results")
    small = len(pickle.dumps(spec))
    assert (spec.source.uri, spec.output.uri) == ("s3://bucket/videos", "s3://bucket/results")
    assert spec.output is spec.output
    arrived = pickle.loads(pickle.dumps(spec))
    assert arrived == spec
    assert arrived.digests == spec.digests
    assert arrived.output.uri == spec.output.uri
    assert small < 5000
