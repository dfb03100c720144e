"""The laws of a metric, as one function that every metric's tests call.

With `+` for merge and 0 for a metric that has seen nothing: a + 0 = 0 + a = a, a + b = b + a,
(a + b) + c = a + (b + c); updates split over two metrics and merged give what one metric gives; so does any batch
size; compute is idempotent; merging leaves the other side as it was; an image counts once.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import pytest
import torch

from vaecheck.cells import merge, states
from vaecheck.errors import InputError, NotEnoughImages
from vaecheck.metrics.protocol import Batch, Metric
from vaecheck.results.types import Measure
from vaecheck.vae.protocol import Posterior

MakeMetric = Callable[[], Metric]


def check_laws(
    make_metric: MakeMetric, batches: Sequence[Batch], *, rtol: float = 1e-9, keeps_all: bool = True
) -> None:
    """Assert every law for the metric that `make_metric` makes anew at each call.

    batches: at least three, of different images. rtol: of measured numbers between two ways to the same state.
    keeps_all: whether it knows every image again, so that it sees one that comes twice.
    """
    assert len(batches) >= 3, "associativity needs three batches"
    whole = _fed(make_metric, batches).compute()

    def assert_whole(metric: Metric, law: str) -> None:
        assert_same(metric.compute(), whole, rtol, law)

    with pytest.raises(NotEnoughImages):
        make_metric().compute()
    once = _fed(make_metric, batches)
    assert_same(once.compute(), once.compute(), 0.0, "compute is idempotent")

    thirds = (batches[:1], batches[1:2], batches[2:])

    def part(*indices: int) -> Metric:
        return _fed(make_metric, [batch for i in indices for batch in thirds[i]])

    assert_whole(_merged(part(0, 1, 2), make_metric()), "merging an empty metric changes nothing")
    assert_whole(_merged(make_metric(), part(0, 1, 2)), "merging into an empty metric gives the other")
    assert_whole(_merged(part(0, 1), part(2)), "split updates and merge are one pass")
    assert_whole(_merged(part(2), part(0, 1)), "merging is commutative")
    assert_whole(_merged(_merged(part(0), part(1)), part(2)), "merging is associative: (a + b) + c")
    assert_whole(_merged(part(0), _merged(part(1), part(2))), "merging is associative: a + (b + c)")

    other = part(0, 1)
    before = other.compute()
    _merged(part(2), other)
    assert_same(other.compute(), before, 0.0, "merging leaves the other side unchanged")

    assert_whole(_fed(make_metric, _rebatched(batches, 1)), "batch size does not matter: 1")
    assert_whole(_fed(make_metric, _rebatched(batches, 3)), "batch size does not matter: 3")
    assert_whole(_fed(make_metric, reversed(batches)), "order does not matter")

    if not keeps_all:
        return
    with pytest.raises(InputError):
        _fed(lambda: once, batches[:1]).compute()
    with pytest.raises(InputError):
        _merged(part(0, 1, 2), part(1)).compute()


def assert_same(found: Sequence[Measure], expected: Sequence[Measure], rtol: float, law: str) -> None:
    """Equal measures: numbers to `rtol`, everything else exactly."""
    assert [measure.name for measure in found] == [measure.name for measure in expected], law
    for a, b in zip(found, expected, strict=True):
        for field in ("value", "sd", "ci95"):
            here, there = getattr(a, field), getattr(b, field)
            near = here is there is None or here == pytest.approx(there, rel=rtol, abs=1e-12)
            assert near, f"{law}: {a.name}.{field} is {here}, not {there}"
        numbers_aside = {"value": None, "sd": None, "ci95": None}
        assert replace(a, **numbers_aside) == replace(b, **numbers_aside), f"{law}: {a.name}"


def _fed(make_metric: MakeMetric, batches: Iterable[Batch]) -> Metric:
    metric = make_metric()
    for batch in batches:
        metric.update(batch)
    return metric


def _merged(into: Metric, other: Metric) -> Metric:
    """By way of a file, as between processes and after a kill."""
    file = io.BytesIO()
    torch.save(states(other), file)
    file.seek(0)
    merge(into, torch.load(file, weights_only=True))
    return into


def _rebatched(batches: Sequence[Batch], size: int) -> Iterator[Batch]:
    for batch in batches:
        for start in range(0, len(batch.ids), size):
            yield sliced(batch, slice(start, start + size))


def sliced(batch: Batch, part: slice) -> Batch:
    """Some images of a batch, every field of it."""
    tensors = {name: value[part] for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}
    posterior = batch.posterior
    if posterior is not None:
        log_var = None if posterior.log_var is None else posterior.log_var[part]
        codes = None if posterior.codes is None else posterior.codes[part]
        posterior = Posterior(posterior.mean[part], log_var, codes)
    return replace(batch, ids=batch.ids[part], posterior=posterior, **tensors)
