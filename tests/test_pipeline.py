"""The loop: what reaches the observers, whatever the batch size."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from vaecheck.errors import InputError, SetupError
from vaecheck.images.loader import Images
from vaecheck.metrics.protocol import Batch, Need
from vaecheck.pipeline import Run, Stopwatch, evaluate
from vaecheck.pixels import to_pixels
from vaecheck.results.types import VAECard
from vaecheck.vae.protocol import VAE, Posterior
from vaecheck.vae.room import Room, is_out_of_memory
from vaecheck.vae.tiling import Tiled

CPU = torch.device("cpu")


class Halver:
    """f = 2: the mean of 2 x 2 pixels, decoded by repetition; log-variance 0."""

    def __init__(self, memory_for: int = 1000) -> None:
        self.card = VAECard("halver", "Halver", None, f=2, latent_channels=3, parameters=None, dtype="float32")
        self.fixed_size = None
        self.memory_for = memory_for
        self.error: Exception = torch.OutOfMemoryError("no room")
        self.tried: list[int] = []
        self.decoded = 0

    def _fits(self, batch: Tensor) -> None:
        self.tried.append(len(batch))
        if len(batch) > self.memory_for:
            raise self.error

    def encode(self, pixels: Tensor) -> Posterior:
        self._fits(pixels)
        mean = torch.nn.functional.avg_pool2d(pixels, 2)
        return Posterior(mean, torch.zeros_like(mean))

    def decode(self, latents: Tensor) -> Tensor:
        self._fits(latents)
        self.decoded += len(latents)
        return latents.repeat_interleave(2, 2).repeat_interleave(2, 3)


class Keep:
    def __init__(self, *needs: Need) -> None:
        self.needs = frozenset(needs)
        self.batches: list[Batch] = []

    def update(self, batch: Batch) -> None:
        self.batches.append(batch)

    def all(self, field: str) -> Tensor:
        return torch.cat([getattr(batch, field) for batch in self.batches])


def pictures(count: int = 6, side: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def batches(images: Tensor, size: int, valid: tuple[int, int] | None = None) -> list[Images]:
    ids = [f"{i}.png" for i in range(len(images))]
    whole = (images.shape[2], images.shape[3])
    return [Images(tuple(ids[i : i + size]), images[i : i + size], valid or whole) for i in range(0, len(images), size)]


def walk(vae: VAE, keep: Keep, images: list[Images], posterior: str = "mode", seed: int = 0) -> Keep:
    evaluate([Run(vae, [keep], Stopwatch(CPU))], images, device=CPU, posterior=posterior, seed=seed)
    return keep


def test_a_batch_carries_the_original_the_latents_and_the_reconstruction() -> None:
    images = pictures()
    keep = walk(Halver(), Keep(Need.RECONSTRUCTION), batches(images, 4))
    assert torch.equal(keep.all("original"), images)
    mean = torch.nn.functional.avg_pool2d(to_pixels(images), 2)
    assert torch.equal(keep.all("latents"), mean)
    assert keep.all("reconstruction").dtype == torch.uint8
    assert keep.all("finite").all()


def test_nothing_is_decoded_for_observers_that_only_need_the_posterior() -> None:
    vae = Halver()
    keep = walk(vae, Keep(Need.POSTERIOR), batches(pictures(), 4))
    assert vae.decoded == 0
    assert keep.batches[0].reconstruction is None


def test_a_sample_does_not_depend_on_batch_size_but_on_seed_and_id() -> None:
    images = pictures()
    one, four, other = (
        walk(Halver(), Keep(Need.POSTERIOR), batches(images, size), "sample", seed).all("latents")
        for size, seed in ((1, 0), (4, 0), (4, 1))
    )
    assert torch.equal(one, four)
    assert not torch.equal(four, other)
    mean = torch.nn.functional.avg_pool2d(to_pixels(images), 2)
    assert (one - mean).std().item() == pytest.approx(1.0, abs=0.1)


def test_a_batch_is_halved_until_it_fits_into_memory() -> None:
    images = pictures(7)
    whole = walk(Halver(), Keep(Need.RECONSTRUCTION), batches(images, 7))
    small = walk(Halver(memory_for=2), Keep(Need.RECONSTRUCTION), batches(images, 7))
    for field in ("latents", "reconstruction"):
        assert torch.equal(whole.all(field), small.all(field))
    log_var = small.batches[0].posterior.log_var
    assert log_var is not None
    assert log_var.shape == whole.batches[0].posterior.mean.shape


def test_the_size_that_fits_is_kept_for_later_batches_and_said() -> None:
    vae = Halver(memory_for=8)
    run = Run(vae, [Keep(Need.RECONSTRUCTION)], Stopwatch(CPU))
    evaluate([run], batches(pictures(96), 32), device=CPU)
    once = [32, 16, 8, 8, 8, 8]
    assert vae.tried == once + once + [8] * 16
    other = Room(halved={"encode": (16, 4)})
    other.merge(run.room.state())
    assert other.halved == {"encode": (32, 4), "decode": (32, 8)}
    assert run.room.batch_size(32) == 8
    assert run.room.warnings() == (
        "batches of 32 pictures did not fit into memory; 8 at a time went through encode",
        "batches of 32 pictures did not fit into memory; 8 at a time went through decode",
    )


def test_what_fits_is_counted_in_pixels() -> None:
    """Four pictures of 8 x 8 fit: so does one of 16 x 16 at a time, without another failure."""
    vae = Halver(memory_for=4)
    keep = Keep(Need.POSTERIOR)
    run = Run(vae, [keep], Stopwatch(CPU))
    evaluate([run], [*batches(pictures(8), 8), *batches(pictures(3, side=16), 3)], device=CPU)
    assert vae.tried == [8, 4, 4, 1, 1, 1]
    assert keep.batches[1].posterior is not None
    assert keep.batches[1].posterior.mean.shape == (3, 3, 8, 8)


def test_nothing_is_said_where_everything_fits() -> None:
    run = Run(Halver(), [Keep(Need.RECONSTRUCTION)], Stopwatch(CPU))
    evaluate([run], batches(pictures(6), 4), device=CPU)
    assert run.room.batch_size(4) == 4
    assert run.room.warnings() == ()


def test_the_cpus_own_error_is_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 55)
    vae = Halver(memory_for=2)
    vae.error = caught.value
    keep = walk(vae, Keep(Need.RECONSTRUCTION), batches(pictures(4), 4))
    assert torch.equal(
        keep.all("latents"), walk(Halver(), Keep(Need.RECONSTRUCTION), batches(pictures(4), 4)).all("latents")
    )


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    vae = Halver(memory_for=2)
    vae.error = RuntimeError("the sizes of tensors must match")
    with pytest.raises(RuntimeError, match="sizes of tensors"):
        walk(vae, Keep(Need.RECONSTRUCTION), batches(pictures(4), 4))
    assert vae.tried == [4]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("MPS backend out of memory (MPS allocated: 17 GiB)"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] . DefaultCPUAllocator: not enough memory: you tried to allocate"),
    ],
)
def test_errors_that_mean_a_lack_of_memory(error: Exception) -> None:
    assert is_out_of_memory(error)
    wrapped = InputError("model.py:f: decode raised RuntimeError")
    wrapped.__cause__ = error
    assert is_out_of_memory(wrapped)
    assert not is_out_of_memory(InputError("pictures of 7x7 pixels do not fit"))


def test_one_picture_that_does_not_fit_is_an_error_with_the_remedies() -> None:
    with pytest.raises(SetupError, match="memory") as caught:
        walk(Halver(memory_for=0), Keep(Need.RECONSTRUCTION), batches(pictures(2, side=80), 2))
    assert caught.value.message == (
        "one picture of 80x80 pixels does not fit into the memory of cpu (encode of halver, float32)"
    )
    assert caught.value.hint == "Try --tiling 32, --dtype bfloat16 or a smaller --size."


def test_a_tile_that_does_not_fit_wants_a_smaller_one() -> None:
    class Small(Halver):
        def _fits(self, batch: Tensor) -> None:
            if batch.shape[-1] > 32:
                raise self.error

    tiled = Tiled(Small(), 128)
    with pytest.raises(SetupError) as caught:
        walk(tiled, Keep(Need.RECONSTRUCTION), batches(pictures(1, side=256), 1))
    assert caught.value.hint.startswith("Try --tiling 64,")


def test_padding_is_cropped_away_before_any_metric_sees_it() -> None:
    images = pictures(2)
    keep = walk(Halver(), Keep(Need.RECONSTRUCTION), batches(images, 2, valid=(5, 7)))
    assert torch.equal(keep.all("original"), images[..., :5, :7])
    assert keep.all("reconstruction").shape == (2, 3, 5, 7)


def test_nan_from_the_decoder_is_marked_and_does_not_reach_the_bytes() -> None:
    class Broken(Halver):
        def decode(self, latents: Tensor) -> Tensor:
            decoded = super().decode(latents).clone()
            decoded[1, 0, 0, 0] = float("nan")
            return decoded

    keep = walk(Broken(), Keep(Need.RECONSTRUCTION), batches(pictures(3), 3))
    assert keep.all("finite").tolist() == [True, False, True]


def test_a_decoder_of_another_size_is_refused() -> None:
    class Cut(Halver):
        def decode(self, latents: Tensor) -> Tensor:
            return super().decode(latents)[..., :-1]

    vae = Cut()
    vae.card = replace(vae.card, ref="cut")
    with pytest.raises(InputError, match="cut decoded"):
        walk(vae, Keep(Need.RECONSTRUCTION), batches(pictures(1), 1))


def test_several_vaes_see_one_and_the_same_original() -> None:
    first, second = Keep(Need.RECONSTRUCTION), Keep(Need.RECONSTRUCTION)
    runs = [Run(Halver(), [keep], Stopwatch(CPU)) for keep in (first, second)]
    evaluate(runs, batches(pictures(), 4), device=CPU)
    assert all(a.original is b.original for a, b in zip(first.batches, second.batches, strict=True))


def test_vaes_take_turns_in_who_gets_a_batch_first() -> None:
    order: list[str] = []

    class Noting(Halver):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def encode(self, pixels: Tensor) -> Posterior:
            order.append(self.name)
            return super().encode(pixels)

    runs = [Run(Noting(name), [Keep(Need.POSTERIOR)], Stopwatch(CPU)) for name in "abc"]
    evaluate(runs, batches(pictures(4), 1), device=CPU)
    assert "".join(order) == "abcbcacababc"


class Queue:
    """A stand-in for a CUDA stream and its events: what was recorded passes when `done` says so."""

    def __init__(self) -> None:
        self.now = self.done = 0.0
        self.waited = 0

    def event(self, enable_timing: bool) -> Any:
        assert enable_timing
        queue = self

        class Event:
            def record(self, stream: Queue) -> None:
                assert stream is queue
                self.at = queue.now

            def query(self) -> bool:
                return self.at <= queue.done

            def synchronize(self) -> None:
                queue.waited += self.at > queue.done
                queue.done = max(queue.done, self.at)

            def elapsed_time(self, end: Event) -> float:
                assert end.query(), "CUDA refuses to tell"
                return (end.at - self.at) * 1000

        return Event()


def test_a_gpu_is_waited_for_only_when_its_laps_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue()
    monkeypatch.setattr(torch.cuda, "Event", queue.event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: queue)
    watch = Stopwatch(torch.device("cuda"))
    for images, seconds in ((4, 0.5), (4, 0.25), (2, 0.125)):
        with watch.lap("encode", images):
            queue.now += seconds
        queue.now += 10  # the metrics
    assert queue.waited == 0
    queue.done = 1.0
    with watch.lap("decode", 2):
        queue.now += 1
    assert (queue.waited, len(watch._passing)) == (0, 3), "the first had passed and was read"
    assert watch.laps == {"encode": [(4, 0.5), (4, 0.25), (2, 0.125)], "decode": [(2, 1.0)]}
    assert watch.seconds("encode") == 0.875
    assert not watch._passing


def test_laps_go_on_with_those_of_an_earlier_run() -> None:
    watch, later = Stopwatch(CPU), Stopwatch(CPU)
    for one in (watch, later):
        with one.lap("encode", 3):
            pass
    later.merge(watch.state())
    assert [images for images, _ in later.laps["encode"]] == [3, 3]
    assert later.seconds("encode") >= watch.seconds("encode")
