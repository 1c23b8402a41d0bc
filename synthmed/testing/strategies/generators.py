"""Strategies for masks, anomalies and compositions with drawn parameters."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from synthmed.anomalies import (
    Atrophy,
    Calcifications,
    Cavity,
    Cutout,
    CutPaste,
    GaussianIntensityChange,
    Haemorrhage,
    Identity,
    Interpolation,
    Lesion,
    Sink,
    SmoothIntensityChange,
    Source,
    Swelling,
    TextureBlend,
    ThinStructure,
)
from synthmed.compose import OneOf, Repeat
from synthmed.compose import Sequence as InSequence
from synthmed.distributions import Choice, Gamma, Normal
from synthmed.generator import Generator
from synthmed.masks import (
    BlobMask,
    EllipseMask,
    IntersectionMask,
    LesionMask,
    PerlinMask,
    RectangleMask,
    StrokeMask,
    UnionMask,
)
from synthmed.presets import PRESETS, preset


def mask_generators(depth: int = 1) -> SearchStrategy[Generator]:
    """Masks with parameters drawn; `depth` overlays, or choices, deep.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from synthmed.testing import strategies
    >>> @settings(max_examples=5, database=None)
    ... @given(strategies.mask_generators())
    ... def check(value):
    ...     assert value.is_mask
    >>> check()
    """
    wide = st.sampled_from([(0.2, 0.6), (0.1, 0.6), (0.3, 0.8), (0.4, 0.4), (0.5, 1.0)])
    turn = st.sampled_from([(-90.0, 90.0), (0.0, 0.0), (30.0, 30.0), (-180.0, 180.0)])
    overlap = st.sampled_from([0.5, 0.0, 0.9])
    perlin = st.builds(
        PerlinMask,
        box=wide,
        cells=st.integers(1, 4),
        threshold=st.sampled_from([0.3, 0.0, -0.5]),
        least_cover=st.sampled_from([0.2, 0.0, 0.3]),
        rotation=turn,
        roi_overlap=overlap,
    )
    figures = [
        st.builds(
            figure,
            box=wide,
            shear=st.sampled_from([0.2, 0.0, 0.5]),
            rotation=turn,
            roi_overlap=overlap,
            side=st.sampled_from([Gamma(2.0, 0.1, offset=0.03), Gamma(2.0, 0.3), (0.1, 0.7)]),
        )
        for figure in (EllipseMask, RectangleMask)
    ]
    simple = st.one_of(
        st.sampled_from([PerlinMask(), EllipseMask(), RectangleMask()]), perlin, *figures
    )
    lesion = st.builds(
        LesionMask,
        size=st.sampled_from([(0.08, 0.3), 0.5, Gamma(2.0, 0.1, bounds=(0.05, 0.6))]),
        elongation=st.sampled_from([(1.0, 1.8), 1.0, 4.0]),
        deformation=st.sampled_from([(0.1, 0.4), 0.0, 1.0]),
        roi_overlap=overlap,
    )
    blob = st.builds(
        BlobMask,
        box=wide,
        smoothness=st.sampled_from([(0.06, 0.15), 0.0, 0.3]),
        components=st.sampled_from([(1, 4), 1]),
        roi_overlap=overlap,
    )
    stroke = st.builds(
        StrokeMask,
        length=st.sampled_from([(0.15, 0.5), 0.0]),
        width=st.sampled_from([(1.0, 4.0), 0.0, 20.0]),
        roi_overlap=overlap,
    )
    simple = st.one_of(simple, lesion, blob, stroke)
    if depth == 0:
        return simple
    inner = mask_generators(depth - 1)
    return st.one_of(
        simple,
        *[st.builds(several, inner, inner) for several in (UnionMask, IntersectionMask, OneOf)],
    )


def anomalies(mask: SearchStrategy[Generator] | None = None) -> SearchStrategy[Generator]:
    """Single anomalies with parameters drawn, on any mask.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from synthmed.testing import strategies
    >>> @settings(max_examples=5, database=None)
    ... @given(strategies.anomalies())
    ... def check(value):
    ...     assert not value.is_mask
    >>> check()
    """
    mask = mask_generators() if mask is None else mask
    order = st.sampled_from([1, 3, 0])
    cut = st.builds(
        CutPaste,
        mask,
        blend=st.sampled_from(["direct", "poisson", "mixed"]),
        order=order,
        rotation=st.sampled_from([(-45.0, 45.0), (0.0, 0.0)]),
        scale=st.sampled_from([Gamma(1.0, 0.1, offset=1.0), 1.0, (1.0, 3.0)]),
        source_share=st.sampled_from([0.8, 1.0, 0.3]),
        label=st.sampled_from(["mask", "changed"]),
    )
    textured = st.builds(
        GaussianIntensityChange,
        mask,
        sigma=st.sampled_from([Choice((4.0, 7.0)), 0.0, (1.0, 3.0)]),
        gamma=st.sampled_from([(0.4, 0.6), (0.0, 1.0)]),
        texture=st.sampled_from(["box", "image"]),
    )
    smooth = st.builds(
        SmoothIntensityChange,
        mask,
        step=st.sampled_from(
            [Gamma(3.0, 30.0, offset=15.0), 255.0, Normal(40.0, 20.0, (0.0, 90.0))]
        ),
    )
    radial = [
        st.builds(r, mask, exponent=st.sampled_from([(0.5, 2.0), (0.0, 1.0)]), order=order)
        for r in (Source, Sink)
    ]
    return st.one_of(
        st.builds(SmoothIntensityChange), smooth, textured, cut, *radial, *_more_anomalies(mask)
    )


def _more_anomalies(mask: SearchStrategy[Generator]) -> list[SearchStrategy[Generator]]:
    lesions = [
        st.builds(
            kind,
            mask,
            contrast=st.sampled_from([(0.08, 0.3), 1.0, Normal(0.2, 0.1, (0.0, 0.5))]),
            polarity=st.sampled_from(["either", "brighter", "darker"]),
            edge=st.sampled_from([(1.0, 4.0), 0.0]),
        )
        for kind in (Lesion, Haemorrhage, ThinStructure)
    ]
    flows = [
        st.builds(kind, mask, volume_ratio=st.sampled_from([(1.5, 3.0), 10.0]))
        for kind in (Atrophy, Swelling)
    ]
    blended = st.builds(
        Interpolation,
        mask,
        blend=st.sampled_from(["linear", "poisson"]),
        factor=st.sampled_from([(0.05, 0.95), 1.0]),
        place=st.sampled_from(["same", "anywhere"]),
    )
    overlaid = st.builds(
        TextureBlend,
        mask,
        texture=st.sampled_from(["noise", "donors"]),
        grain=st.sampled_from([(4.0, 24.0), 0.0, 200.0]),
    )
    specks = st.builds(Calcifications, mask, label=st.sampled_from(["specks", "cluster"]))
    empty = st.builds(Cutout, mask, level=st.sampled_from([(0.0, 1.0), "mean"]))
    return [*lesions, *flows, blended, overlaid, specks, empty, st.builds(Cavity, mask)]


def recipes() -> SearchStrategy[Generator]:
    """Anomalies and compositions of them: presets, one of several, several in order, one several
    times.

    Examples
    --------
    >>> from hypothesis import given, settings
    >>> from synthmed.testing import strategies
    >>> @settings(max_examples=5, database=None)
    ... @given(strategies.recipes())
    ... def check(value):
    ...     assert not value.is_mask
    >>> check()
    """
    single = st.one_of(st.just(Identity()), anomalies())
    some = st.lists(single, min_size=1, max_size=3)
    return st.one_of(
        single,
        st.sampled_from(PRESETS).map(preset),
        some.map(lambda members: OneOf(*members)),
        some.map(lambda members: InSequence(*members)),
        st.builds(Repeat, single, times=st.sampled_from([(1, 2), (0, 1), 3])),
    )
