"""Shows colours of a larger gamut or dynamic range as BT.709.

Codes and chromaticities: ITU-T H.273, Tables 2 and 3. PQ and HLG: ITU-R BT.2100-2, Tables 4 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PQ, HLG = 16, 18
D65 = (0.3127, 0.3290)
BT709 = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
BT2020 = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
WIDE = {9: BT2020, 11: P3, 12: P3}
"""Primaries that reach beyond BT.709, by code."""

WHITE_NITS = 203
"""What stands for white in HDR (ITU-R BT.2408-7, 2.2)."""
PEAK_NITS = 1000
"""The brightest light that is told apart: the peak of HLG, of phones, and of most masters."""
SDR_GAMMA = 2.4
"""ITU-R BT.1886."""


@dataclass(frozen=True, slots=True)
class Colours:
    """How the colours of a video are coded: the codes of its primaries and of its transfer function."""

    primaries: int
    transfer: int

    @classmethod
    def of(cls, picture: object) -> Colours:
        """Those of a picture of PyAV."""
        codes = (int(getattr(picture, name, None) or 0) for name in ("color_primaries", "color_trc"))
        return cls(*codes)

    @property
    def beyond_bt709(self) -> bool:
        """Whether showing them as they are would look pale and dark."""
        return self.transfer in (PQ, HLG) or self.primaries in WIDE


def as_bt709(coded: Floats, colours: Colours) -> Floats:
    """R'G'B' of 0 to 1, `n x 3`, as R'G'B' of BT.709. Light keeps its hue where it is brighter than white."""
    light = _linear(coded, colours.transfer)
    to_bt709 = np.linalg.inv(_to_xyz(BT709)) @ _to_xyz(WIDE.get(colours.primaries, BT2020))
    shown: Floats = np.clip(light @ to_bt709.T, 0, 1) ** (1 / SDR_GAMMA)
    return shown


def _linear(coded: Floats, transfer: int) -> Floats:
    """Light, 1 for white; brighter light is rolled off."""
    if transfer == PQ:
        nits = _pq_nits(coded)
    elif transfer == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(coded <= 0.5, coded**2 / 3, (np.exp((coded - c) / a) + b) / 12)
        nits = PEAK_NITS * (scene @ [[0.2627], [0.6780], [0.0593]]) ** 0.2 * scene
    else:
        return coded**SDR_GAMMA
    brightest = np.clip(nits.max(axis=1, keepdims=True), 1e-6, None)
    light: Floats = nits * _rolled_off(brightest) / brightest / WHITE_NITS
    return light


def _rolled_off(nits: Floats) -> Floats:
    """Light of up to `PEAK_NITS` as light of up to `WHITE_NITS`: the EETF of ITU-R BT.2390-10, 5.4.1."""
    peak, white = _pq_coded(np.array([PEAK_NITS, WHITE_NITS]))
    coded, most = np.clip(_pq_coded(nits) / peak, 0, 1), white / peak
    knee = 1.5 * most - 0.5
    t = np.clip((coded - knee) / (1 - knee), 0, 1)
    bent = (
        (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * most
    )
    return _pq_nits(np.where(coded < knee, coded, bent) * peak)


M1, M2, C1, C2, C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128


def _pq_nits(coded: Floats) -> Floats:
    root = coded ** (1 / M2)
    nits: Floats = 10_000 * (np.clip(root - C1, 0, None) / (C2 - C3 * root)) ** (1 / M1)
    return nits


def _pq_coded(nits: Floats) -> Floats:
    power = (nits / 10_000) ** M1
    coded: Floats = ((C1 + C2 * power) / (1 + C3 * power)) ** M2
    return coded


def _to_xyz(primaries: tuple[tuple[float, float], ...]) -> Floats:
    """From linear RGB with white D65."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in (*primaries, D65)]).T
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])
